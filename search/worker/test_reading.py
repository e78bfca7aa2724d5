"""Read the test split once, with all members at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.utilities.data import extract_batch_size
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor

from lightning_modules.callbacks.captured_evaluation import CapturedEvaluation, Split
from lightning_modules.callbacks.metric_names import stem
from lightning_modules.image_classifier import ImageClassifier
from search.messages import TestAssignment, TestResult
from search.worker.assembly import Assembled, make_data, make_model, seed_setup
from search.worker.checkpoint_mirror import fetched_members
from search.worker.members import Members, copied
from search.worker.process_group import leave_process_group, this_group
from search.worker.scratch_directory import scratch_directory
from search.worker.trainer_settings import check_trainer_args, make_trainer, quiet_libraries
from search.worker.user_error import describe


def read_test(assignment: TestAssignment, *, callbacks: Sequence[Callback] = ()) -> TestResult:
    """Evaluate the members and their ensemble in one pass over the test split; never raises.

    Args:
        assignment: The members.
        callbacks: What watches the batches.
    """
    try:
        with quiet_libraries():
            return _read(assignment, callbacks)
    except BaseException as raised:
        error, trace = describe(raised)
        return TestResult(members=(), ensemble={}, n_samples=0, notices=(), error=error, traceback=trace)


def _read(assignment: TestAssignment, callbacks: Sequence[Callback]) -> TestResult:
    # The split is read by one process, each sample once: dividing it would repeat samples to make the shares equal.
    leave_process_group()
    if this_group().rank != 0:
        return TestResult(members=(), ensemble={}, n_samples=0, notices=(), error="", traceback="")
    data = make_data(assignment.assembly)
    members = [make_model(assignment.assembly, seed=0) for _ in assignment.directories]
    if not Assembled(model=members[0], data=data).defines("test_dataloader"):
        notice = "there is no test split: neither data module nor model defines a `test_dataloader()`."
        return TestResult(members=(), ensemble={}, n_samples=0, notices=(notice,), error="", traceback="")
    trainer_args = dict(assignment.assembly.trainer_args)
    check_trainer_args(trainer_args)
    with scratch_directory() as directory:
        directories = fetched_members(assignment.checkpoints, assignment.directories, directory)
        committee = _Committee(members, directories, ensemble=assignment.ensemble)
        trainer = make_trainer(trainer_args, directory=directory, max_epochs=1, callbacks=callbacks, alone=True)
        seed_setup(assignment.assembly)
        trainer.test(committee, datamodule=data, verbose=False)
    return TestResult(
        members=tuple(committee.results),
        ensemble=committee.ensemble_metrics(),
        n_samples=committee.n_samples,
        notices=tuple(committee.notices),
        error="",
        traceback="",
    )


class _Committee(Members):
    """Members that are fed the same test batches; each is evaluated as it would be alone.

    Args:
        members: As for `Members`.
        directories: Likewise.
        ensemble: Whether to average probabilities.
    """

    def __init__(self, members: Sequence[LightningModule], directories: Sequence[Path], *, ensemble: bool) -> None:
        super().__init__(members, directories)
        self.results: list[Mapping[str, float]] = []
        self.notices: list[str] = []
        self.n_samples = 0
        self._evaluations: list[CapturedEvaluation] = []
        self._average = _AveragedProbabilities() if ensemble else None
        self._split: Split = "test" if is_overridden("test_step", members[0]) else "validation"
        if self._split == "validation":
            self.notices.append("the model defines no `test_step`: its `validation_step` was run on the test split.")

    def ensemble_metrics(self) -> Mapping[str, float]:
        """Metrics of the averaged probabilities, empty without an ensemble."""
        return {} if self._average is None else self._average.metrics()

    def on_test_epoch_start(self) -> None:
        for member in self.modules_in_order:
            evaluation = CapturedEvaluation(self.trainer, member, split=self._split)
            self._evaluations.append(evaluation)
            evaluation.start()

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        n_loaders = len(self.trainer.num_test_batches)
        if self._average is not None:
            refusal = "there are several test dataloaders" if n_loaders > 1 else None
            refusal = refusal or self._average.refusal(batch)
            if refusal is None:
                with self.trainer.precision_plugin.test_step_context():
                    refusal = self._average.add(batch, self.modules_in_order)
            if refusal is not None:
                self.notices.append(f"there is no ensemble: {refusal}.")
                self._average = None
        self.n_samples += extract_batch_size(batch)
        # A step may change its batch in place; the others must not see that.
        for evaluation in self._evaluations:
            evaluation.step(copied(batch), batch_idx, dataloader_idx if n_loaders > 1 else None)

    def on_test_epoch_end(self) -> None:
        for evaluation in self._evaluations:
            results = evaluation.finish()
            if self._split == "validation":
                results = {f"test_{stem(name)}": value for name, value in results.items()}
            self.results.append(results)
        self._evaluations.clear()


class _AveragedProbabilities:
    """Accuracy and negative log-likelihood of the members' mean softmax probabilities."""

    def __init__(self) -> None:
        self._n_right = 0.0
        self._loss = 0.0
        self._n = 0

    def refusal(self, batch: Any) -> str | None:
        """Say why batches of this kind cannot be used, or None."""
        if not (
            isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(each, Tensor) for each in batch)
        ):
            return "test batches are not pairs (x, y) of tensors"
        labels = batch[1]
        if labels.is_floating_point() or labels.is_complex() or labels.dim() != 1:
            return f"labels are not integers of shape (N,), but {labels.dtype} of shape {tuple(labels.shape)}"
        return None

    def add(self, batch: Any, members: Sequence[LightningModule]) -> str | None:
        """Add one batch ``x (N, …), y (N,)``; returns why that cannot be, or None."""
        x, y = batch
        total: Tensor | None = None
        for member in members:
            try:
                # As each is tested alone, with dropout on if it is to be.
                forward = member.predicted_scores if isinstance(member, ImageClassifier) else member
                logits = forward(copied(x))
            except Exception as error:
                return f"`forward(x)` raised {type(error).__name__}: {error}"
            if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(y) or logits.shape[1] < 2:
                shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
                return f"`forward(x)` must give scores of shape (N, C) with C >= 2, but gives {shape}"
            probabilities = torch.softmax(logits.double(), dim=1)
            total = probabilities if total is None else total + probabilities
        assert total is not None
        if int(y.max()) >= total.shape[1] or int(y.min()) < 0:
            return f"labels must lie in [0, {total.shape[1]}), but reach from {int(y.min())} to {int(y.max())}"
        mean = total / len(members)
        self._n_right += (mean.argmax(dim=1) == y).sum().item()
        self._loss -= mean.gather(1, y.long()[:, None]).log().sum().item()
        self._n += len(y)
        return None

    def metrics(self) -> Mapping[str, float]:
        return {"test_acc": self._n_right / self._n, "test_loss": self._loss / self._n} if self._n else {}

"""Read the test split once, with all members at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.utilities.data import extract_batch_size
from pytorch_lightning.utilities.model_helpers import is_overridden

from lightning_modules.callbacks.captured_evaluation import CapturedEvaluation, Split
from lightning_modules.callbacks.metric_names import stem
from search.messages import TestAssignment, TestResult
from search.worker.assembly import Assembled, make_data, seed_setup
from search.worker.averaged_probabilities import AveragedProbabilities
from search.worker.members import Left, Members, copied, left_by_refits
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
    trainer_args = dict(assignment.assembly.trainer_args)
    check_trainer_args(trainer_args)
    with scratch_directory() as directory:
        left = left_by_refits(assignment, directory)
        if not Assembled(model=left.modules[0], data=data).defines("test_dataloader"):
            notice = "there is no test split: neither data module nor model defines a `test_dataloader()`."
            return TestResult(members=(), ensemble={}, n_samples=0, notices=(notice,), error="", traceback="")
        committee = _Committee(left, ensemble=assignment.ensemble)
        trainer = make_trainer(trainer_args, directory=directory, max_epochs=1, callbacks=callbacks, alone=True)
        seed_setup(assignment.assembly)
        trainer.test(committee, datamodule=data, verbose=False)
    averaged = committee.averaged
    return TestResult(
        members=tuple(committee.results),
        ensemble=averaged.together() if assignment.ensemble else {},
        n_samples=committee.n_samples,
        notices=tuple(committee.notices),
        error="",
        traceback="",
        sizes=left.sizes,
        scores=averaged.of_members() if assignment.ensemble else (),
        ensembles=averaged.of_refits() if assignment.ensemble else (),
        confusion=averaged.confusion(),
        left_out=averaged.left_out(),
    )


class _Committee(Members):
    """Members that are fed the same test batches; each is evaluated as it would be alone.

    Args:
        left: The members.
        ensemble: Whether to average probabilities; else those of the first member, which is the model then, only make
            a confusion matrix.
    """

    def __init__(self, left: Left, *, ensemble: bool) -> None:
        super().__init__(left.modules, left.weights)
        self.results: list[Mapping[str, float]] = []
        self.notices: list[str] = []
        self.n_samples = 0
        self._evaluations: list[CapturedEvaluation] = []
        self.averaged = AveragedProbabilities(left.sizes if ensemble else (1,))
        self._is_ensemble = ensemble
        self._split: Split = "test" if is_overridden("test_step", left.modules[0]) else "validation"
        if self._split == "validation":
            self.notices.append("the model defines no `test_step`: its `validation_step` was run on the test split.")

    def on_test_epoch_start(self) -> None:
        for member in self.modules_in_order:
            evaluation = CapturedEvaluation(self.trainer, member, split=self._split)
            self._evaluations.append(evaluation)
            evaluation.start()

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        n_loaders = len(self.trainer.num_test_batches)
        if self.averaged.sizes:
            refusal = "there are several test dataloaders" if n_loaders > 1 else None
            refusal = refusal or self.averaged.refusal(batch)
            if refusal is None:
                with self.trainer.precision_plugin.test_step_context():
                    averaged = self.modules_in_order if self._is_ensemble else self.modules_in_order[:1]
                    refusal = self.averaged.add(batch, averaged)
            if refusal is not None:
                if self._is_ensemble:
                    self.notices.append(f"there is no ensemble: {refusal}.")
                self.averaged = AveragedProbabilities(())
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

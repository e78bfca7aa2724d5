"""Keep the weights that one training has at several points, as members of an ensemble that cost nothing more."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_modules.arguments import ArgumentError, check_count

CYCLE_ENDS = "learning_rate_cycle_ends"
"""Method of a module that tells after how many optimizer steps each of its learning-rate cycles ends."""


class WeightSnapshots(Callback):
    """Copies the module's state dict at chosen points of a fit; they are part of its checkpoints.

    Snapshots are the weights that are trained: with `weight_averaging`, not the average.

    Args:
        epochs: After which epochs, counted from 1: the ends of a learning-rate schedule's cycles.
        steps: After which optimizer steps, counted from 1, where cycles end within epochs.
        last_n_epochs: After each of the last so many epochs, >= 1, however many there are. Every epoch might turn out
            to be among them, so each is copied.
        cycle_ends: After the steps that the module's ``learning_rate_cycle_ends()`` gives, none if it has no such
            method.

    Attributes:
        members: State dicts on the CPU, by epoch (or step), in the order of training.
        counts_steps: Whether their numbers are those of steps.

    Raises:
        ValueError: Unless exactly one of the arguments is given, or if a number is < 1.

    Source:
        epochs, steps, cycle_ends: Huang et al. 2017, "Snapshot Ensembles: Train 1, Get M for Free" (arXiv 1704.00109).
        last_n_epochs: CS231n, "Neural Networks Part 3: Learning and Evaluation", section "Model Ensembles", "Different
        checkpoints of a single model".
    """

    def __init__(
        self,
        *,
        epochs: Collection[int] = (),
        steps: Collection[int] = (),
        last_n_epochs: int | None = None,
        cycle_ends: bool = False,
    ) -> None:
        if bool(epochs) + bool(steps) + (last_n_epochs is not None) + cycle_ends != 1:
            raise ArgumentError(
                "exactly one of `epochs`, `steps`, `last_n_epochs` and `cycle_ends` must be given, but got "
                f"{epochs!r}, {steps!r}, {last_n_epochs!r} and {cycle_ends!r}."
            )
        for name, numbers in (("epochs", epochs), ("steps", steps)):
            for number in numbers:
                check_count(number, name=name, at_least=1)
        if last_n_epochs is not None:
            check_count(last_n_epochs, name="last_n_epochs", at_least=1)
        self.members: dict[int, dict[str, Tensor]] = {}
        self.counts_steps = bool(steps) or cycle_ends
        self._cycle_ends = cycle_ends
        self._epochs = frozenset(epochs)
        self._steps = frozenset(steps)
        self._last_n_epochs = last_n_epochs

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ends = getattr(pl_module, CYCLE_ENDS, None)
        if self._cycle_ends and callable(ends):
            self._steps = frozenset(ends())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Where gradients are accumulated, the step stays the same for several batches.
        if trainer.global_step in self._steps and trainer.global_step not in self.members:
            self._keep(trainer.global_step, trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch in self._epochs or self._last_n_epochs is not None:
            self._keep(epoch, trainer, pl_module)
        if self._last_n_epochs is not None and len(self.members) > self._last_n_epochs:
            del self.members[next(iter(self.members))]

    def state_dict(self) -> dict[str, Any]:
        return {"members": self.members}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.members = dict(state_dict["members"])

    def _keep(self, number: int, trainer: Trainer, module: LightningModule) -> None:
        # The strategy puts together what several processes share out; all of them come here.
        weights = trainer.strategy.lightning_module_state_dict() if trainer.world_size > 1 else module.state_dict()
        # A copy even on the CPU: training goes on in place.
        self.members[number] = {name: value.detach().cpu().clone() for name, value in weights.items()}

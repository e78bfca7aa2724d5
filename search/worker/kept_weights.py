"""Further weights that a refit keeps beside its final ones, as members of an ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from lightning_modules.callbacks.epoch_checkpoint import save_weights
from lightning_modules.ensembles.weight_snapshots import WeightSnapshots
from search.messages import TrialAssignment


class KeptWeights(WeightSnapshots):
    """The snapshots that an assignment asks for; a class of its own, lest one of the user's module takes its place."""

    _n_steps = 0

    @classmethod
    def of(cls, assignment: TrialAssignment) -> KeptWeights | None:
        """Return what keeps them, None if the final weights are all that is kept."""
        if not assignment.merge_validation:
            return None
        if assignment.keeps_cycle_ends:
            return cls(cycle_ends=True)
        if assignment.keeps_last_epochs:
            first = max(1, assignment.n_epochs - assignment.keeps_last_epochs + 1)
            return cls(epochs=range(first, assignment.n_epochs + 1))
        return None

    def take_from(self, checkpoint: Mapping[str, Any]) -> None:
        """Take what a training that was over has left in its last checkpoint."""
        self.load_state_dict(checkpoint["callbacks"][self.state_key])
        self._n_steps = int(checkpoint["global_step"])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._n_steps = trainer.global_step

    def write(self, path: Path, *, n_epochs: int) -> None:
        """Write the members, in the order of training, without those of the very end.

        These are the final weights, or, with `weight_averaging`, what the final ones are an average of.

        Args:
            path: The file.
            n_epochs: Epochs that have been trained.

        Raises:
            OSError: If it cannot be written.
        """
        end = self._n_steps if self.counts_steps else n_epochs
        save_weights(path, {str(number): weights for number, weights in self.members.items() if number != end})

"""The refitted members of a study, side by side in one module that a Trainer can run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor

from lightning_modules.callbacks.checkpoint_files import CHECKPOINT_NAME, WEIGHTS_NAME
from lightning_modules.callbacks.epoch_checkpoint import load_checkpoint
from search.errors import SearchError

_DATA_HOOKS = (
    *("val_dataloader", "test_dataloader"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"),
)


class Members(LightningModule):
    """Members that are fed the same batches.

    Args:
        members: Freshly built modules of one class.
        directories: Where their weights are, in the same order; they are read when a Trainer sets the module up.
    """

    def __init__(self, members: Sequence[LightningModule], directories: Sequence[Path]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(members)
        # Only what the members override, so that Lightning sees no hook compete with the data module's.
        for hook in _DATA_HOOKS:
            if is_overridden(hook, members[0]):
                setattr(self, hook, getattr(members[0], hook))
        self._directories = directories

    @property
    def modules_in_order(self) -> list[LightningModule]:
        """The members."""
        return [each for each in self.members if isinstance(each, LightningModule)]

    def setup(self, stage: str) -> None:
        for member in self.modules_in_order:
            member.trainer = self.trainer
            member.setup(stage)

    def configure_model(self) -> None:
        for member, directory in zip(self.modules_in_order, self._directories, strict=True):
            member.configure_model()
            member.load_state_dict(_weights(directory), strict=member.strict_loading)


def copied(batch: Any) -> Any:
    """Return a copy of a tensor, or of tensors, for a step that may change its batch in place."""
    if isinstance(batch, Tensor):
        return batch.clone()
    if isinstance(batch, list | tuple) and all(isinstance(each, Tensor) for each in batch):
        return type(batch)(each.clone() for each in batch) if type(batch) in (list, tuple) else batch
    return batch


def _weights(directory: Path) -> dict[str, Any]:
    """Read a member's final weights, from its last checkpoint if they were not kept apart.

    Raises:
        SearchError: If there are neither.
    """
    for name in (WEIGHTS_NAME, CHECKPOINT_NAME):
        if (directory / name).exists():
            content = load_checkpoint(directory / name)
            weights: dict[str, Any] = content if name == WEIGHTS_NAME else content["state_dict"]
            return weights
    raise SearchError(f"there are no weights in {directory}: neither {WEIGHTS_NAME} nor {CHECKPOINT_NAME}.")

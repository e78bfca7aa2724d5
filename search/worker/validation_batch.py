"""The first validation batch, as a Trainer gives it to members: after the hooks of data and model, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningDataModule

from search.messages import ModelAssembly
from search.worker.assembly import Assembled, seed_setup
from search.worker.members import Left, Members, copied
from search.worker.trainer_settings import check_trainer_args, make_trainer, one_batch_args


def first_validation_batch(
    left: Left,
    assembly: ModelAssembly,
    data: LightningDataModule | None,
    *,
    directory: Path,
    callbacks: Sequence[Callback],
) -> Any:
    """Set the members up with their weights, and return the batch that they would validate on first.

    Args:
        left: The members; they are ready to be run by themselves afterwards.
        assembly: What they and `data` were built from.
        data: The data module, if there is one.
        directory: Where the user's callbacks may write.
        callbacks: What watches the batch.

    Returns:
        A copy, None if there is no batch.

    Raises:
        StudyDefinitionError: If the Trainer does not take the study's arguments.
        Exception: Whatever the user's code raises.
    """
    Assembled(model=left.modules[0], data=data)
    seeing = _Seeing(left.modules, left.weights)
    trainer_args = dict(assembly.trainer_args)
    check_trainer_args(trainer_args)
    trainer = make_trainer(
        {**one_batch_args(trainer_args), "limit_val_batches": 1},
        directory=directory,
        max_epochs=1,
        callbacks=callbacks,
        alone=True,
    )
    seed_setup(assembly)
    trainer.validate(seeing, datamodule=data, verbose=False)
    for member in left.modules:
        member.trainer = None
    return seeing.batch


class _Seeing(Members):
    """Members that keep the first batch."""

    batch: Any = None

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        if self.batch is None:
            self.batch = copied(batch)

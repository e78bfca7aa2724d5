"""The data module that a trainer runs with."""

from __future__ import annotations

from pytorch_lightning import LightningDataModule, Trainer


def attached_datamodule(trainer: Trainer) -> LightningDataModule | None:
    """Return the data module given to ``Trainer.fit``, or None if the module brings its own loaders."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, LightningDataModule) else None

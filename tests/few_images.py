"""A data module of a few images, and a Trainer without files or words, for trainings that take a moment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from lightning_modules import ImageDataModule
from lightning_modules.data.image_data import LabelledImages

N_CLASSES = 3


class FewImages(ImageDataModule):
    """90 noisy images ``(1, 6, 6)`` of three classes that differ in brightness."""

    def __init__(self, *, batch_size: int = 16, **splitting: Any) -> None:
        super().__init__(batch_size=batch_size, **splitting)

    def load(self) -> LabelledImages:
        random = np.random.default_rng(0)
        labels = np.arange(90, dtype=np.int64) % N_CLASSES
        images = random.normal(size=(90, 1, 6, 6)) + labels[:, None, None, None]
        return LabelledImages(images=images.astype(np.float32), labels=labels)


def trainer(**changed: Any) -> pl.Trainer:
    """Return a Trainer on the CPU."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(**(quiet | changed))


def fit(
    module: pl.LightningModule, *callbacks: pl.Callback, data: FewImages | None = None, **changed: Any
) -> pl.Trainer:
    """Train on a few images, with the same random numbers every time."""
    torch.manual_seed(0)
    made = trainer(callbacks=list(callbacks), **changed)
    made.fit(module, data or FewImages())
    return made

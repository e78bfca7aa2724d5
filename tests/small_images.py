"""Images to train on in a moment."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch.utils.data import TensorDataset

from lightning_modules.data.tensor_loader import TensorLoader


class Images(pl.LightningDataModule):
    """Noise in three classes, which can only be learned by heart."""

    def __init__(self, batch_size: int = 10) -> None:
        super().__init__()
        self.batch_size = batch_size
        generator = torch.Generator().manual_seed(0)
        self.data = TensorDataset(torch.randn(30, 1, 6, 6, generator=generator), torch.arange(30) % 3)

    def train_dataloader(self) -> TensorLoader:
        return TensorLoader(self.data, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> TensorLoader:
        return TensorLoader(self.data, batch_size=30)

    def train_eval_dataloader(self) -> TensorLoader:
        return self.val_dataloader()

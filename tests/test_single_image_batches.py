"""A training batch of a single image, on which batch normalization cannot train."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from few_images import trainer
from torch.utils.data import DataLoader, TensorDataset

from lightning_modules import ConvNet, TensorLoader
from lightning_modules.arguments import ArgumentError

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
]

NINE = TensorDataset(torch.randn(9, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3)


def fit(loader: Any, **changed: Any) -> pl.Trainer:
    net = ConvNet(**({"in_channels": 1, "n_classes": 3, "widths": [4, 4]} | changed))
    made = trainer(max_epochs=1)
    made.fit(net, loader)
    return made


def test_loaders_of_this_package_have_none() -> None:
    assert fit(TensorLoader(NINE, batch_size=4, shuffle=True)).global_step == 2


def test_with_any_other_loader_the_error_says_what_to_change() -> None:
    with pytest.raises(ArgumentError, match=r"`batch_size` must leave no training batch of a single image.*`drop_last"):
        fit(DataLoader(NINE, batch_size=4))
    assert fit(DataLoader(NINE, batch_size=4, drop_last=True)).global_step == 2
    assert fit(DataLoader(NINE, batch_size=4), norm="group").global_step == 3


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="to have 2 channels"):
        fit(DataLoader(NINE, batch_size=1), in_channels=2)

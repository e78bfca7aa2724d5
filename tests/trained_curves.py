"""Curves of trainings on the digits, as the worker collects them."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import nn

from lightning_modules.callbacks.generalization_gap import GeneralizationGap
from lightning_modules.conv_net import ConvNet
from lightning_modules.data.digits_data import DigitsDataModule
from search.trial import EpochRecord, TrialRecord, TrialState
from search.worker.epoch_metrics import EpochMetricsCollector


class _Keep(Checkpoint):
    """Comes after the module's own hooks, as Lightning has it for this base."""

    def __init__(self, collector: EpochMetricsCollector) -> None:
        self.collector = collector
        self.epochs: list[EpochRecord] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = dict(self.collector.collect(trainer).values)
        self.epochs.append(EpochRecord(epoch=len(self.epochs) + 1, metrics=metrics, time_ms=len(self.epochs)))


def trained(*, n_epochs: int = 10, val_share: float = 0.25, biases: float | None = None, **model: Any) -> TrialRecord:
    """Train a small network and return its trial.

    Args:
        n_epochs: How long.
        val_share: Of the images that are no test images; the others are trained on.
        biases: What all biases of convolutions are set to before the training.
        model: Init arguments of `ConvNet`.
    """
    torch.manual_seed(0)
    net = ConvNet(**({"in_channels": 1, "n_classes": 10, "widths": (8, 16)} | model))
    for layer in net.modules():
        if biases is not None and isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.constant_(layer.bias, biases)
    collector = EpochMetricsCollector()
    keep = _Keep(collector)
    trainer = pl.Trainer(
        max_epochs=n_epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[collector, GeneralizationGap(monitor="val_acc", maximize=True, seed=0), keep],
    )
    trainer.fit(net, DigitsDataModule(val_share=val_share))
    return record_of(keep.epochs)


def record_of(epochs: list[EpochRecord], *, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    """Return a trial that was given as many epochs as it has."""
    return TrialRecord(
        key="trial-0000",
        number=0,
        stage="fine",
        hyperparameters={},
        seed=0,
        n_epochs=len(epochs),
        horizon_epochs=len(epochs),
        epochs=tuple(epochs),
        state=state,
        started_ms=0,
    )

"""Collect the metrics of one epoch from a trainer."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_modules.callbacks.batch_samples import n_samples_in
from lightning_modules.callbacks.rank_reduction import gathered
from search.worker.rank_metrics import RankMetrics, merged


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMetrics:
    """Scalars of one finished epoch.

    Attributes:
        values: By name; may hold NaN and infinities.
        validation_names: Those that were logged in validation.
    """

    values: Mapping[str, float]
    validation_names: tuple[str, ...]


class EpochMetricsCollector(Callback):
    """Watches an epoch: what is logged in it, its training loss, learning rate and time.

    The training loss comes from what ``training_step`` returns, a mean over the epoch's samples, and is kept on the
    device: reading it every step would make the device wait. A module that logs ``train_loss`` itself is believed,
    unless the loss of one of its steps was not finite: then the mean that says so is reported in its place.

    Of a group of processes, every one of them collects the same: means over all ranks, weighted by the samples that
    each has seen (in validation for what was logged there), and the slowest rank's time.
    """

    def __init__(self) -> None:
        self._started = 0.0
        self._learning_rate = math.nan
        self._stale: dict[str, Tensor] = {}
        self._before_validation: dict[str, Tensor] = {}
        self._validation_names: tuple[str, ...] = ()
        self._loss_sum: Tensor | None = None
        self._last_loss: Tensor | None = None
        self._n_samples = 0
        self._n_val_samples = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()
        self._stale = dict(trainer.callback_metrics)
        self._validation_names = ()
        self._loss_sum, self._last_loss, self._n_samples, self._n_val_samples = None, None, 0, 0
        groups = trainer.optimizers[0].param_groups if trainer.optimizers else []
        self._learning_rate = float(groups[0]["lr"]) if groups else math.nan

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            return
        loss = loss.detach().reshape(())
        if loss.dtype in (torch.float16, torch.bfloat16):
            loss = loss.float()  # a sum over an epoch would overflow
        if pl_module.automatic_optimization and trainer.accumulate_grad_batches > 1:
            loss = loss * trainer.accumulate_grad_batches  # Lightning divided it
        size = n_samples_in(batch)
        self._loss_sum = loss * size if self._loss_sum is None else self._loss_sum + loss * size
        self._last_loss = loss
        self._n_samples += size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before_validation = dict(trainer.callback_metrics)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if trainer.world_size > 1:
            self._n_val_samples += n_samples_in(batch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_names = tuple(_fresh(trainer.callback_metrics, self._before_validation))
        self._before_validation = {}

    def collect(self, trainer: Trainer) -> EpochMetrics:
        """Return the metrics of the epoch that is over now; every process of a group calls this at the same point.

        Raises:
            SearchError: If the processes of a group trained with different learning rates.
        """
        fresh = _fresh(trainer.callback_metrics, self._stale)
        values = {name: value.item() for name, value in fresh.items() if not _is_step_variant(name, fresh)}
        train_loss = self._mean_loss()
        if train_loss is not None and (last := values.get("train_loss", math.nan)) == self._last_step_loss(last):
            del values["train_loss"]  # logged on_step only: what is there is the last batch's
        if train_loss is not None and ("train_loss" not in values or not math.isfinite(train_loss)):
            values["train_loss"] = train_loss
        values["learning_rate"] = self._learning_rate
        values["epoch_seconds"] = time.perf_counter() - self._started
        names = tuple(name for name in self._validation_names if name in values)
        if trainer.world_size > 1:
            values = self._over_ranks(trainer, values, names)
        return EpochMetrics(values=values, validation_names=names)

    def _over_ranks(
        self, trainer: Trainer, values: Mapping[str, float], validation_names: tuple[str, ...]
    ) -> dict[str, float]:
        apart = {*validation_names, "learning_rate", "epoch_seconds"}
        own = RankMetrics(
            trained={name: value for name, value in values.items() if name not in apart},
            n_trained=self._n_samples,
            validated={name: values[name] for name in validation_names},
            n_validated=self._n_val_samples,
            learning_rate=values["learning_rate"],
            seconds=values["epoch_seconds"],
        )
        return merged(gathered(trainer, own))

    def _mean_loss(self) -> float | None:
        return None if self._loss_sum is None else self._loss_sum.item() / max(self._n_samples, 1)

    def _last_step_loss(self, otherwise: float) -> float:
        return math.nan if self._last_loss is None else self._last_loss.item()


def _fresh(metrics: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scalars that were logged since `before` was copied; Lightning replaces a value's tensor, never changes it."""
    return {name: value for name, value in metrics.items() if value.numel() == 1 and before.get(name) is not value}


def _is_step_variant(name: str, metrics: Mapping[str, Tensor]) -> bool:
    """Whether it is the last batch's value of a metric that is there for the whole epoch as well."""
    return name.endswith("_step") and name.removesuffix("_step") in metrics

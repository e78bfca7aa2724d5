"""Average the weights while a module trains, and evaluate and keep the average instead of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_avg_fn

from lightning_modules.arguments import ArgumentError
from lightning_modules.callbacks.captured_evaluation import to_device
from lightning_modules.callbacks.epoch_seeding import seed_all
from lightning_modules.callbacks.train_subset import TrainSubset, train_source
from lightning_modules.training.batch_norm_statistics import measure_batch_norm, normalizing_layers
from lightning_modules.training.weight_averaging import WeightAveragingSettings, ema_decay_at, swa_averages

_N_BATCH_NORM_SAMPLES = 4096
"""As many images at most say what batch normalization sees of the averaged weights."""

_CACHE_BYTES = 64 * 2**20
_SUBSET_SEED = 0


class AveragedWeights(WeightAveraging):
    """Lightning's `WeightAveraging`, by our settings, with what it leaves open.

    The module trains with its own weights. In validation, in the `state_dict` of a checkpoint, and after the fit it has
    the average, as soon as there is one (Lightning's has the initial weights until then). A checkpoint holds the own
    weights beside it, so that a fit goes on from it exactly.

    At the end of an epoch, the statistics of batch normalization are measured for the averaged weights, on a fixed part
    of the train data without augmentation. Where several processes train together, each reads the same images.

    Args:
        settings: Which average; not ``none``.
        device: Where the average is kept: that of the training, lest every step waits for a copy.
    """

    def __init__(self, settings: WeightAveragingSettings, *, device: torch.device) -> None:
        # Both leave the average in 32 bits where the weights that are trained have 16.
        if settings.name == "ema":
            super().__init__(device=device, use_buffers=True, multi_avg_fn=self._move_average)
        else:
            super().__init__(device=device, use_buffers=True, avg_fn=get_swa_avg_fn())  # type: ignore[no-untyped-call]
        self._settings = settings
        self._has_average = False
        self._is_due = False
        self._n_steps_before = 0
        self._subset: TrainSubset | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Find the train data that batch normalization is measured on, before an epoch is trained in vain.

        Raises:
            ValueError: If they are no loader that a part can be taken of.
        """
        if self._subset is None and batch_idx == 0 and normalizing_layers(pl_module):
            with isolate_rng(include_cuda=False):
                self._subset = _some_train_data(trainer, pl_module)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make room for the average.

        Raises:
            ValueError: If the strategy shards the weights, or the end of the training is not known to SWA.
        """
        if stage == "fit":
            if isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy | DeepSpeedStrategy):
                kind = type(trainer.strategy).__name__
                raise ArgumentError(f"`weight_averaging` must be 'none' where weights are sharded, but got {kind}.")
            if self._settings.name == "swa" and (trainer.max_epochs or -1) < 1:
                raise ArgumentError(
                    "`weight_averaging` 'swa' begins after a share of the training, but the Trainer has no "
                    "`max_epochs`: set it."
                )
        super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and self._is_due

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        ends_epoch = trainer.is_last_batch
        self._n_steps_before = trainer.global_step - 1
        is_wanted = self._settings.name == "ema" or (ends_epoch and self._swa_has_begun(trainer))
        self._is_due = is_wanted and self._n_steps_before >= 0
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._has_average = self._has_average or self._is_due
        if self._is_due and ends_epoch and normalizing_layers(pl_module):
            self._measure_batch_norm(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._has_average:
            super().on_train_end(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._has_average:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._has_average:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._has_average:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == TrainerFn.FITTING and "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
            self._has_average = True

    def _swa_has_begun(self, trainer: Trainer) -> bool:
        assert trainer.max_epochs is not None
        return swa_averages(trainer.current_epoch + 1, max_epochs=trainer.max_epochs, start=self._settings.swa_start)

    def _move_average(self, averaged: list[Tensor], current: list[Tensor], n_averaged: Tensor | int) -> None:
        """Move the average a step; the steps are counted here, since reading `n_averaged` makes a GPU wait."""
        decay = ema_decay_at(self._n_steps_before, decay=self._settings.ema_decay)
        move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch left its types out
        move(averaged, [each.to(average.dtype) for each, average in zip(current, averaged, strict=True)], n_averaged)

    def _measure_batch_norm(self, trainer: Trainer, module: LightningModule) -> None:
        if self._subset is None:  # an epoch that a checkpoint continues in its middle
            self._subset = _some_train_data(trainer, module)
        # With validation's hooks the average takes the place of the module's weights, and gives it back.
        self.on_validation_epoch_start(trainer, module)
        isolated = isolate_rng(include_cuda=module.device.type == "cuda")
        with isolated, trainer.precision_plugin.forward_context():
            seed_all(_SUBSET_SEED)
            measure_batch_norm(module, self._images(trainer, module))
        self.on_validation_epoch_end(trainer, module)

    def _images(self, trainer: Trainer, module: LightningModule) -> Iterator[Tensor]:
        assert self._subset is not None
        for batch in self._subset:
            yield to_device(trainer, module, batch)[0]


def _some_train_data(trainer: Trainer, module: LightningModule) -> TrainSubset:
    loader = train_source(trainer, module).loader
    try:
        return TrainSubset(loader, n_samples=_N_BATCH_NORM_SAMPLES, seed=_SUBSET_SEED, cache_bytes=_CACHE_BYTES)
    except TypeError as error:
        raise ArgumentError(
            "`weight_averaging` must be 'none' where batch normalization cannot be measured on a part of the train "
            f"data, but {error}. Give the data module a `train_eval_dataloader()` that returns a DataLoader, or take "
            "another normalization (`norm`)."
        ) from error

"""A small convolutional network whose training hyperparameters are all init arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lightning_modules.arguments import check_choice, check_count, check_number
from lightning_modules.initialization import SCHEMES, initialize
from lightning_modules.learning_rate_schedules import SHAPES, learning_rate_ratio
from lightning_modules.optimizers import OPTIMIZERS, make_optimizer

NORMS: tuple[str, ...] = ("batch", "none")
"""Names of the normalizations."""


class ConvNet(pl.LightningModule):
    """Image classifier: blocks of convolution, normalization, ReLU and pooling, then an average over positions.

    Images may have any size; each block halves it. Logs per epoch ``train_loss`` and ``train_acc`` (running, with
    dropout on), ``val_loss`` and ``val_acc``, ``test_loss`` and ``test_acc``: the mean cross-entropy of the images
    in nats, and the share of them that is classified right. Where several processes train together, each logs the means
    over its own share of validation and test images.
    """

    # Sums over the running train epoch, on the images' device from its first step on.
    _loss_total: Tensor | float
    _n_correct: Tensor | int
    _n_images: int

    def __init__(
        self,
        *,
        in_channels: int,
        n_classes: int,
        widths: Sequence[int] = (32, 64),
        hidden_width: int = 0,
        norm: str = "batch",
        dropout: float = 0.2,
        init_scheme: str = "he",
        init_gain: float = 1.0,
        optimizer: str = "nesterov",
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        lr_schedule: str = "cosine",
        lr_decay: float = 0.01,
    ) -> None:
        """Build the network and draw its weights from torch's global random generator.

        Args:
            in_channels: Channels of an image, >= 1.
            n_classes: >= 2.
            widths: Channels of each block, at least one, each >= 1.
            hidden_width: Units of a fully connected layer before the logits, or 0 for none.
            norm: ``batch`` (batch normalization after each convolution) or ``none``.
            dropout: Probability of dropping a unit, in ``[0, 1)``, before each fully connected layer.
            init_scheme: ``he``, ``xavier`` or ``normal``.
            init_gain: Multiplies the scheme's standard deviation, > 0.
            optimizer: ``sgd``, ``nesterov`` or ``adamw``.
            learning_rate: Initial learning rate, > 0.
            momentum: Of ``sgd`` and ``nesterov``, in ``[0, 1)``.
            weight_decay: >= 0, on weights only, decoupled for ``adamw``.
            lr_schedule: ``constant``, ``exponential``, ``step``, ``inverse_time`` or ``cosine``.
            lr_decay: Learning rate after the Trainer's ``max_epochs`` / initial one, in ``(0, 1]``, whatever the
                shape; without effect if the schedule is constant.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__()
        self.save_hyperparameters()
        _check_hyperparameters(self.hparams)
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.lr_decay = lr_decay

        channels = [in_channels, *widths]
        self.features = nn.Sequential(*(_block(n_in, n_out, norm=norm) for n_in, n_out in pairwise(channels)))
        self.classifier = _classifier(channels[-1], n_classes, hidden_width=hidden_width, dropout=dropout)
        initialize(self, scheme=init_scheme, gain=init_gain)
        # A third faster on CPUs than the default layout, and what tensor cores want.
        self.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from its stubs
        self._reset_train_totals()

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, n_classes)``."""
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits

    def on_train_epoch_start(self) -> None:
        self._reset_train_totals()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = nn.functional.cross_entropy(logits, labels)
        # Summed up here and logged once an epoch: `self.log` in every step would cost a tenth of the step.
        self._loss_total = self._loss_total + loss.detach() * len(labels)
        self._n_correct = self._n_correct + (logits.argmax(dim=1) == labels).sum()
        self._n_images += len(labels)
        return loss

    def on_train_epoch_end(self) -> None:
        if self._n_images:
            loss, n_correct, n = map(self._over_ranks, (self._loss_total, self._n_correct, self._n_images))
            self.log_dict({"train_loss": loss / n, "train_acc": n_correct / n})
        self._reset_train_totals()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._log_evaluation(batch, split="val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._log_evaluation(batch, split="test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and a schedule that moves with every step and ends with the Trainer's last epoch.

        Raises:
            ValueError: If the schedule is not constant and the Trainer does not know how many steps there will be.
        """
        optimizer = make_optimizer(
            self,
            name=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
        )
        if self.lr_schedule == "constant":
            return optimizer
        n_steps = self.trainer.estimated_stepping_batches
        if not 0 < n_steps < math.inf:
            raise ValueError(
                f"`lr_schedule` {self.lr_schedule!r} spans the whole training, but the Trainer has no number of steps: "
                "set `max_epochs` and give a train dataloader with a length, or choose 'constant'."
            )

        def ratio(step: int) -> float:
            return learning_rate_ratio(step / n_steps, shape=self.lr_schedule, decay=self.lr_decay)

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, ratio), "interval": "step"}}

    def _log_evaluation(self, batch: tuple[Tensor, Tensor], *, split: str) -> None:
        images, labels = batch
        logits = self(images)
        means = {
            f"{split}_loss": nn.functional.cross_entropy(logits, labels),
            f"{split}_acc": (logits.argmax(dim=1) == labels).float().mean(),
        }
        # Without `sync_dist`: Lightning would round the mean number of images a rank has to an integer.
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=len(labels))

    def _over_ranks(self, total: Tensor | float) -> Any:
        """Sum over the processes that train together."""
        if self.trainer.world_size == 1:
            return total
        return self.trainer.strategy.reduce(torch.as_tensor(total, device=self.device), reduce_op="sum")

    def _reset_train_totals(self) -> None:
        self._loss_total = 0.0
        self._n_correct = 0
        self._n_images = 0


def _check_hyperparameters(given: Mapping[str, Any]) -> None:
    check_count(given["in_channels"], name="in_channels", at_least=1)
    check_count(given["n_classes"], name="n_classes", at_least=2)
    if not isinstance(given["widths"], list | tuple) or not given["widths"]:
        raise ValueError(f"`widths` must be a list of at least one integer, but got {given['widths']!r}.")
    for width in given["widths"]:
        check_count(width, name="widths", at_least=1)
    check_count(given["hidden_width"], name="hidden_width", at_least=0)
    check_choice(given["norm"], name="norm", choices=NORMS)
    check_number(given["dropout"], name="dropout", low=0.0, high=1.0, includes_low=True)
    check_choice(given["init_scheme"], name="init_scheme", choices=SCHEMES)
    check_number(given["init_gain"], name="init_gain", low=0.0, includes_low=False)
    check_choice(given["optimizer"], name="optimizer", choices=OPTIMIZERS)
    check_number(given["learning_rate"], name="learning_rate", low=0.0, includes_low=False)
    check_number(given["momentum"], name="momentum", low=0.0, high=1.0, includes_low=True)
    check_number(given["weight_decay"], name="weight_decay", low=0.0, includes_low=True)
    check_choice(given["lr_schedule"], name="lr_schedule", choices=SHAPES)
    check_number(given["lr_decay"], name="lr_decay", low=0.0, high=1.0, includes_low=False, includes_high=True)


def _block(n_in: int, n_out: int, *, norm: str) -> nn.Sequential:
    normalization = [nn.BatchNorm2d(n_out)] if norm == "batch" else []
    return nn.Sequential(
        # Batch normalization has a shift of its own.
        nn.Conv2d(n_in, n_out, kernel_size=3, padding=1, bias=norm == "none"),
        *normalization,
        nn.ReLU(),
        # Rounding up, so that any number of blocks leaves a pixel of any image.
        nn.MaxPool2d(2, ceil_mode=True),
    )


def _classifier(n_in: int, n_classes: int, *, hidden_width: int, dropout: float) -> nn.Sequential:
    if not hidden_width:
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(n_in, n_classes))
    hidden = (nn.Dropout(dropout), nn.Linear(n_in, hidden_width), nn.ReLU())
    return nn.Sequential(*hidden, nn.Dropout(dropout), nn.Linear(hidden_width, n_classes))

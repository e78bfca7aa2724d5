"""How a network that classifies images is trained and evaluated, with every choice an init argument."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lightning_modules.arguments import check_choice, check_number
from lightning_modules.callbacks.attached_data import attached_datamodule
from lightning_modules.init_signature import KnowsItsKeywords
from lightning_modules.matching_data import check_matches
from lightning_modules.training.initialization import SCHEMES, initialize
from lightning_modules.training.learning_rate_schedules import SHAPES, learning_rate_ratio
from lightning_modules.training.optimizers import OptimizerSettings, make_optimizer, parameter_groups


class ImageClassifier(KnowsItsKeywords, pl.LightningModule):
    """A network from images to logits, trained by cross-entropy; the base class of the networks of this package.

    Logs per epoch ``train_loss`` and ``train_acc`` (running, with dropout on), ``val_loss`` and ``val_acc``,
    ``test_loss`` and ``test_acc``: the mean cross-entropy of the images in nats, and the share of them that is
    classified right. Where several processes train together, each logs the means over its own share of validation and
    test images.

    A subclass builds its network and passes all other keywords on; `inspect.signature` of it, and so a study file's
    ``model.init_args``, knows them by name.

    Attributes:
        network: Maps images ``(N, C, H, W)`` to logits ``(N, n_classes)``.
    """

    # Sums over the running train epoch, on the images' device from its first step on.
    _loss_total: Tensor | float
    _n_correct: Tensor | int
    _n_images: int

    def __init__(
        self,
        network: nn.Module,
        *,
        init_scheme: str = "he",
        init_gain: float = 1.0,
        optimizer: str = "nesterov",
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        lr_schedule: str = "cosine",
        lr_decay: float = 0.01,
    ) -> None:
        """Draw the network's weights from torch's global random generator.

        Args:
            network: Any module from images to logits; its linear and convolutional layers are drawn anew.
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
        self.save_hyperparameters(ignore=["network"])
        self.optimizer_settings = OptimizerSettings(
            name=optimizer, learning_rate=learning_rate, weight_decay=weight_decay, momentum=momentum
        )
        check_choice(init_scheme, name="init_scheme", choices=SCHEMES)
        check_number(init_gain, name="init_gain", low=0.0, includes_low=False)
        check_choice(lr_schedule, name="lr_schedule", choices=SHAPES)
        check_number(lr_decay, name="lr_decay", low=0.0, high=1.0, includes_low=False, includes_high=True)
        self.lr_schedule = lr_schedule
        self.lr_decay = lr_decay
        self.network = network
        initialize(network, scheme=init_scheme, gain=init_gain)
        # A third faster on CPUs than the default layout, and what tensor cores want.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from its stubs
        self._reset_train_totals()

    def setup(self, stage: str) -> None:
        """Compare ``n_classes`` and ``in_channels`` with the data.

        Raises:
            UnfitArgumentError: If the network was not made for these images.
        """
        check_matches(self.hparams, attached_datamodule(self.trainer))

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, n_classes)``."""
        logits: Tensor = self.network(images)
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

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what is trained, as groups for a torch optimizer; weights decay, biases and norms do not."""
        return parameter_groups(self.network, weight_decay=self.optimizer_settings.weight_decay)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and a schedule that moves with every step and ends with the Trainer's last epoch.

        Raises:
            ValueError: If the schedule is not constant and the Trainer does not know how many steps there will be.
        """
        optimizer = make_optimizer(self.parameter_groups(), self.optimizer_settings)
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

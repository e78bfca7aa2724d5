"""How a network that classifies images is trained and evaluated, with every choice an init argument."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lightning_modules.arguments import check_choice, check_count, check_number
from lightning_modules.callbacks.averaged_weights import AveragedWeights
from lightning_modules.init_signature import KnowsItsKeywords
from lightning_modules.training.initialization import SCHEMES, initialize
from lightning_modules.training.learning_rate_schedules import SHAPES, learning_rate_ratio
from lightning_modules.training.loss import LossSettings, cross_entropy, rightness
from lightning_modules.training.monte_carlo_dropout import monte_carlo_log_probabilities
from lightning_modules.training.optimizers import OptimizerSettings, make_optimizer, parameter_groups
from lightning_modules.training.weight_averaging import WeightAveragingSettings
from lightning_modules.training.weight_regularization import WeightRegularization, limit_weight_norms, weight_penalty


class ImageClassifier(KnowsItsKeywords, pl.LightningModule):
    """A network from images to logits, trained by cross-entropy; the base class of the networks of this package.

    Logs per epoch ``train_loss`` and ``train_acc`` (running, with dropout on), ``val_loss`` and ``val_acc``,
    ``test_loss`` and ``test_acc``: the mean cross-entropy of the images in nats, and the share of them that is
    classified right. The labels of ``train_loss`` are smoothed, if they are to be; weight penalties are in the loss
    that `training_step` returns, and in none that is logged. Where several processes train together, each logs the
    means over its own share of validation and test images.

    Labels are classes ``(N,)`` or, as mixup makes them, label probabilities ``(N, n_classes)``.

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
        label_smoothing: float = 0.0,
        l1_penalty: float = 0.0,
        l2_penalty: float = 0.0,
        max_norm: float = 0.0,
        mc_dropout_samples: int = 0,
        weight_averaging: str = "none",
        ema_decay: float = 0.995,
        swa_start: float = 0.75,
    ) -> None:
        """Draw the network's weights from torch's global random generator.

        Args:
            network: Any module from images to logits; its linear and convolutional layers are drawn anew.
            init_scheme: ``he``, ``xavier`` or ``normal``.
            init_gain: Multiplies the scheme's standard deviation, > 0.
            optimizer: ``sgd``, ``nesterov`` or ``adamw``.
            learning_rate: Initial learning rate, > 0.
            momentum: Of ``sgd`` and ``nesterov``, in ``[0, 1)``.
            weight_decay: >= 0, on weights only, decoupled for ``adamw``; of the others, a coupled penalty.
            lr_schedule: ``constant``, ``exponential``, ``step``, ``inverse_time`` or ``cosine``.
            lr_decay: Learning rate after the Trainer's ``max_epochs`` / initial one, in ``(0, 1]``, whatever the
                shape; without effect if the schedule is constant.
            label_smoothing: Probability that training takes from each label for all classes to share, in ``[0, 1)``.
            l1_penalty: Coefficient of the sum of absolute weights in the loss, >= 0.
            l2_penalty: Coefficient of half the sum of squared weights in the loss, >= 0: coupled weight decay, whatever
                the optimizer.
            max_norm: Largest length of the vector of weights that enter a unit, enforced after every optimizer step,
                > 0, or 0 for no bound.
            mc_dropout_samples: In test and prediction, probabilities are means over so many passes with dropout on,
                >= 1, or 0 for the usual single pass without dropout.
            weight_averaging: ``none``, ``ema`` or ``swa``; the average is what is evaluated and kept.
            ema_decay: Of ``ema``, the share of the average that a step keeps, in ``[0, 1)``.
            swa_start: Of ``swa``, the share of the Trainer's ``max_epochs`` before the averaging, in ``[0, 1)``.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__()
        self.save_hyperparameters(ignore=["network"])
        self.optimizer_settings = OptimizerSettings(
            name=optimizer, learning_rate=learning_rate, weight_decay=weight_decay, momentum=momentum
        )
        self.loss_settings = LossSettings(label_smoothing=label_smoothing)
        self.weight_regularization = WeightRegularization(
            l1_penalty=l1_penalty, l2_penalty=l2_penalty, max_norm=max_norm
        )
        self.averaging_settings = WeightAveragingSettings(
            name=weight_averaging, ema_decay=ema_decay, swa_start=swa_start
        )
        check_count(mc_dropout_samples, name="mc_dropout_samples", at_least=0)
        self.mc_dropout_samples = mc_dropout_samples
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

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, n_classes)``."""
        logits: Tensor = self.network(images)
        return logits

    def predicted_scores(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to what tests and predictions take the softmax of ``(N, n_classes)``.

        Logits, or the logarithms of the mean probabilities over passes with dropout on (`mc_dropout_samples`).
        """
        if self.mc_dropout_samples:
            return monte_carlo_log_probabilities(self, images, n_samples=self.mc_dropout_samples)
        logits: Tensor = self(images)
        return logits

    def configure_callbacks(self) -> list[Callback]:
        """Return what averages the weights, if they are to be; a subclass with callbacks of its own adds them."""
        if self.averaging_settings.name == "none":
            return []
        return [AveragedWeights(self.averaging_settings, device=self.trainer.strategy.root_device)]

    def on_train_epoch_start(self) -> None:
        self._reset_train_totals()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = cross_entropy(logits, labels, label_smoothing=self.loss_settings.label_smoothing)
        # Summed up here and logged once an epoch: `self.log` in every step would cost a tenth of the step.
        self._loss_total = self._loss_total + loss.detach() * len(labels)
        self._n_correct = self._n_correct + rightness(logits, labels).sum()
        self._n_images += len(labels)
        if self.weight_regularization.penalizes:
            loss = loss + weight_penalty(self.network, self.weight_regularization)
        return loss

    def on_train_epoch_end(self) -> None:
        if self._n_images:
            loss, n_correct, n = map(self._over_ranks, (self._loss_total, self._n_correct, self._n_images))
            self.log_dict({"train_loss": loss / n, "train_acc": n_correct / n})
        self._reset_train_totals()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        self._log_evaluation(self(images), labels, split="val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        self._log_evaluation(self.predicted_scores(images), labels, split="test")

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the class probabilities ``(N, n_classes)`` of a batch of images and labels."""
        images, _ = batch
        return self.predicted_scores(images).softmax(dim=1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what is trained, as groups for a torch optimizer; weights decay, biases and norms do not."""
        return parameter_groups(self.network, weight_decay=self.optimizer_settings.weight_decay)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and a schedule that moves with every step and ends with the Trainer's last epoch.

        Raises:
            ValueError: If the schedule is not constant and the Trainer does not know how many steps there will be.
        """
        optimizer = make_optimizer(self.parameter_groups(), self.optimizer_settings)
        if self.weight_regularization.max_norm:
            optimizer.register_step_post_hook(self._limit_weight_norms)
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

    def _limit_weight_norms(self, *_: Any) -> None:
        limit_weight_norms(self.network, max_norm=self.weight_regularization.max_norm)

    def _log_evaluation(self, logits: Tensor, labels: Tensor, *, split: str) -> None:
        means = {
            f"{split}_loss": cross_entropy(logits, labels),
            f"{split}_acc": rightness(logits, labels).float().mean(),
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

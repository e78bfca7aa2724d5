"""How a network that classifies images is trained and evaluated, with every choice an init argument."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.types import LRSchedulerTypeUnion, OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_modules.arguments import check_count
from lightning_modules.callbacks.attached_data import attached_datamodule
from lightning_modules.callbacks.averaged_weights import AveragedWeights
from lightning_modules.init_signature import KnowsItsKeywords
from lightning_modules.matching_data import check_matches
from lightning_modules.training.activation_gain import activation_of, maxout_pieces_of
from lightning_modules.training.batch_norm_statistics import naming_batch_size
from lightning_modules.training.epoch_totals import EpochTotals
from lightning_modules.training.full_batch_lbfgs import FullBatchLBFGS, check_full_batch
from lightning_modules.training.initialization import initialize
from lightning_modules.training.loss import LossSettings, cross_entropy, in_full, rightness
from lightning_modules.training.monte_carlo_dropout import monte_carlo_log_probabilities
from lightning_modules.training.optimizers import (
    OptimizerSettings,
    annealed_momentum,
    make_optimizer,
    parameter_groups,
)
from lightning_modules.training.schedulers import (
    PLATEAU,
    ScheduleSettings,
    check_length,
    check_monitored,
    cycle_ends,
    make_schedulers,
)
from lightning_modules.training.weight_averaging import WeightAveragingSettings
from lightning_modules.training.weight_regularization import WeightRegularization, bound_after_steps, weight_penalty


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

    def __init__(
        self,
        network: nn.Module,
        *,
        init_scheme: str = "he",
        init_gain: float = 1.0,
        init_distribution: str = "normal",
        init_fan_mode: str = "fan_in",
        optimizer: str = "nesterov",
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        final_momentum: float | None = None,
        beta1: float = 0.9,
        beta2: float = 0.999,
        rms_decay: float = 0.99,
        epsilon: float = 1e-8,
        lbfgs_max_iter: int = 20,
        lbfgs_history_size: int = 10,
        weight_decay: float = 5e-4,
        lr_schedule: str = "cosine",
        lr_decay: float = 0.01,
        lr_cycles: int = 4,
        lr_monitor: str = "train_loss",
        lr_patience_epochs: int = 5,
        warmup_epochs: float = 0.0,
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
            init_scheme: ``he``, ``xavier``, ``normal``, ``lecun``, ``orthogonal`` or ``zeros``; the gain that fits the
                network's activation is in it (`training.initialization`).
            init_gain: Multiplies the scheme's standard deviation, > 0.
            init_distribution: ``normal`` or ``uniform``, of ``he``, ``xavier`` and ``lecun``.
            init_fan_mode: ``fan_in`` or ``fan_out``, of ``he`` and ``lecun``.
            optimizer: ``sgd`` (with `momentum`), ``nesterov``, ``adamw``, ``adam``, ``rmsprop``, ``adagrad``, or
                ``lbfgs``, which wants all train images in one batch and takes one step an epoch.
            learning_rate: Initial learning rate, > 0; of ``lbfgs`` the first step size that a line search tries.
            momentum: Of ``sgd`` and ``nesterov``, in ``[0, 1)``.
            final_momentum: Of ``sgd`` and ``nesterov``, in ``[0, 1)``: momentum after the Trainer's ``max_epochs``, or
                None if it stays what it is.
            beta1: Of ``adam`` and ``adamw``, in ``[0, 1)``.
            beta2: Of ``adam`` and ``adamw``, in ``[0, 1)``.
            rms_decay: Of ``rmsprop``, in ``[0, 1)``.
            epsilon: Of ``adam``, ``adamw``, ``rmsprop`` and ``adagrad``, > 0.
            lbfgs_max_iter: Iterations of each step of ``lbfgs``, >= 1.
            lbfgs_history_size: Past iterations that ``lbfgs`` estimates curvature from, >= 1.
            weight_decay: >= 0, on weights only, decoupled for ``adamw``; of the others, a coupled penalty.
            lr_schedule: ``constant``, ``exponential``, ``step``, ``inverse_time``, ``cosine``, ``cyclic`` or
                ``plateau``.
            lr_decay: Learning rate after the Trainer's ``max_epochs`` / initial one, in ``(0, 1]``, whatever the
                shape; of ``cyclic`` at the end of each cycle, of ``plateau`` the lowest; without effect if the schedule
                is constant.
            lr_cycles: Cycles of ``cyclic``, >= 1.
            lr_monitor: ``train_loss`` or ``val_loss``, which ``plateau`` goes by.
            lr_patience_epochs: Epochs without improvement, >= 1, after which ``plateau`` reduces the learning rate.
            warmup_epochs: Epochs, >= 0 and not necessarily whole, in which the learning rate first rises to its initial
                value, in equal steps; less than the Trainer's ``max_epochs``.
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
            name=optimizer,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            momentum=momentum,
            final_momentum=final_momentum,
            beta1=beta1,
            beta2=beta2,
            rms_decay=rms_decay,
            epsilon=epsilon,
            lbfgs_max_iter=lbfgs_max_iter,
            lbfgs_history_size=lbfgs_history_size,
        )
        self.schedule_settings = ScheduleSettings(
            name=lr_schedule,
            decay=lr_decay,
            n_cycles=lr_cycles,
            warmup_epochs=warmup_epochs,
            monitor=lr_monitor,
            patience_epochs=lr_patience_epochs,
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
        self.network = network
        initialize(
            network,
            scheme=init_scheme,
            gain=init_gain,
            distribution=init_distribution,
            fan_mode=init_fan_mode,
            activation=activation_of(network),
            maxout_pieces=maxout_pieces_of(network),
        )
        # A third faster on CPUs than the default layout, and what tensor cores want.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from its stubs
        self._totals = EpochTotals()

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

    def on_train_start(self) -> None:
        """Find out before the first step whether a plateau lacks the loss that it goes by.

        Raises:
            ValueError: If it does.
        """
        if self.schedule_settings.name == PLATEAU and not self.trainer.enable_validation:
            check_monitored(self.trainer.lr_scheduler_configs, there_are=("train_loss",))

    def on_train_epoch_start(self) -> None:
        self._totals = EpochTotals()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch.

        Raises:
            ValueError: If it is a single image whose maps batch normalization cannot measure.
        """
        images, labels = batch
        with naming_batch_size(images):
            logits = self(images)
        loss = cross_entropy(logits, labels, label_smoothing=self.loss_settings.label_smoothing)
        # Summed up and logged once an epoch: `self.log` in every step would cost a tenth of the step.
        self._totals.add(batch_idx, loss=loss, right=rightness(logits, labels))
        if self.weight_regularization.penalizes:
            loss = loss + weight_penalty(self.network, self.weight_regularization)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.optimizer_settings.anneals_momentum:
            # From the number of the step alone, so that a resumed training needs no further state.
            momentum = annealed_momentum(self.trainer.global_step / self._n_steps, self.optimizer_settings)
            for group in optimizer.param_groups:
                group["momentum"] = momentum

    def on_train_epoch_end(self) -> None:
        totals, self._totals = self._totals, EpochTotals()
        if totals.n_images:
            loss, n_correct, n = map(self._over_ranks, (totals.loss, totals.n_correct, totals.n_images))
            self.log_dict({"train_loss": loss / n, "train_acc": n_correct / n})
        if self.schedule_settings.name == PLATEAU:
            there_are = {*self.trainer.callback_metrics, "train_loss"}
            check_monitored(self.trainer.lr_scheduler_configs, there_are=there_are)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        self._log_evaluation(self(images), labels, split="val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        self._log_evaluation(self.predicted_scores(images), labels, split="test")

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the class probabilities ``(N, n_classes)`` of a batch of images and labels."""
        images, _ = batch
        return in_full(self.predicted_scores(images)).softmax(dim=1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what is trained, as groups for a torch optimizer; weights decay, biases and norms do not."""
        return parameter_groups(self.network, weight_decay=self.optimizer_settings.weight_decay)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and a schedule that ends with the Trainer's last epoch.

        Raises:
            ValueError: If the schedule, the warm-up or the final momentum needs a number of steps that the Trainer does
                not know, if the warm-up is no shorter than the training, or if L-BFGS is not given all train images at
                once.
        """
        optimizer = make_optimizer(self.parameter_groups(), self.optimizer_settings)
        if self.weight_regularization.max_norm:
            bound_after_steps(optimizer, self.network, max_norm=self.weight_regularization.max_norm)
        self._n_steps = self.trainer.estimated_stepping_batches
        if isinstance(optimizer, FullBatchLBFGS):
            check_full_batch(self.trainer)
        if self.optimizer_settings.anneals_momentum:
            final = self.optimizer_settings.final_momentum
            check_length(self._n_steps, needed_by=f"`final_momentum` {final!r} is that of the end of the training")
        max_epochs = self.trainer.max_epochs or 0
        schedulers = make_schedulers(optimizer, self.schedule_settings, n_steps=self._n_steps, max_epochs=max_epochs)
        return [optimizer], schedulers  # type: ignore[return-value]  # Lightning takes dicts, its stub says otherwise

    def learning_rate_cycle_ends(self) -> tuple[int, ...]:
        """Return after how many optimizer steps each cycle of the schedule ends, for snapshots; none if not cyclic.

        To be asked while the module is attached to the Trainer that fits it.
        """
        n_steps, max_epochs = self.trainer.estimated_stepping_batches, self.trainer.max_epochs or 0
        return cycle_ends(self.schedule_settings, n_steps=n_steps, max_epochs=max_epochs)

    def lr_scheduler_step(self, scheduler: LRSchedulerTypeUnion, metric: Any) -> None:
        if isinstance(scheduler, ReduceLROnPlateau):
            # Each rank has its own share of the images; all must come to the same learning rate.
            metric = self._over_ranks(metric) / self.trainer.world_size
        super().lr_scheduler_step(scheduler, metric)

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
        # Of a copy: strategies sum in place, and the loss that a plateau goes by is the one that was logged.
        own = torch.as_tensor(total, device=self.device).clone()
        return self.trainer.strategy.reduce(own, reduce_op="sum")

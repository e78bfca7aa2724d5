"""Networks whose weights have 16 bits: what is summed up, logged and averaged has 32."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from few_images import N_CLASSES, FewImages, fit
from torch import Tensor

from lightning_modules import ConvNet
from lightning_modules.training.loss import cross_entropy, rightness
from lightning_modules.training.monte_carlo_dropout import monte_carlo_log_probabilities
from lightning_modules.training.weight_averaging import ema_decay_at

N_EPOCHS = 2


def make_net(**settings: Any) -> ConvNet:
    torch.manual_seed(3)
    return ConvNet(in_channels=1, n_classes=N_CLASSES, widths=[4], lr_schedule="constant", **settings)


class Watcher(pl.Callback):
    """Losses and sizes of the last epoch's steps, and the weights after each step and each epoch, in 32 bits."""

    def __init__(self) -> None:
        self.losses: list[tuple[float, int]] = []
        self.steps: list[Tensor] = []
        self.epochs: list[Tensor] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.losses.clear()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert {each.dtype for each in pl_module.parameters()} == {torch.bfloat16}
        self.losses.append((float(outputs["loss"]), len(batch[0])))
        self.steps.append(weights_of(pl_module))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs.append(weights_of(pl_module))


def weights_of(module: pl.LightningModule) -> Tensor:
    return torch.cat([each.detach().float().flatten() for each in module.parameters()])


@pytest.mark.parametrize("mixup_alpha", [0.0, 0.5])
def test_train_loss_is_the_mean_of_the_steps(mixup_alpha: float) -> None:
    watcher = Watcher()
    data = FewImages(batch_size=4, mixup_alpha=mixup_alpha)
    trainer = fit(make_net(), watcher, data=data, precision="bf16-true")
    n_images = sum(n for _, n in watcher.losses)
    mean = sum(loss * n for loss, n in watcher.losses) / n_images
    assert trainer.callback_metrics["train_loss"].item() == pytest.approx(mean, rel=1e-5)


def test_losses_are_those_of_the_same_logits_in_full() -> None:
    torch.manual_seed(0)
    logits = torch.randn(50, 4).bfloat16()
    classes, probabilities = torch.arange(50) % 4, torch.rand(50, 4).softmax(1).bfloat16()
    for labels in (classes, probabilities):
        wide = labels if labels is classes else labels.float()
        assert torch.equal(cross_entropy(logits, labels), cross_entropy(logits.float(), wide))
        assert torch.equal(rightness(logits, labels), rightness(logits.float(), wide))
    found = monte_carlo_log_probabilities(torch.nn.Identity(), logits, n_samples=2)
    torch.testing.assert_close(found, logits.float().log_softmax(1))


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_averages_differ_from_those_in_full_by_a_rounding(average: str) -> None:
    net, watcher = make_net(weight_averaging=average, swa_start=0.0, optimizer="sgd", learning_rate=0.3), Watcher()
    fit(net, watcher, data=FewImages(batch_size=4), precision="bf16-true", max_epochs=N_EPOCHS)
    expected = torch.stack(watcher.epochs).mean(0)
    if average == "ema":
        expected = watcher.steps[0]
        for n, weights in enumerate(watcher.steps[1:], start=1):
            decay = ema_decay_at(n, decay=0.995)
            expected = decay * expected + (1.0 - decay) * weights
    error = (weights_of(net) - expected).norm() / expected.norm()
    assert error < 0.004  # of the last of the eight bits
    assert (weights_of(net) - watcher.steps[-1]).norm() / expected.norm() > 0.01


class TwoLoaders(FewImages):
    def train_dataloader(self) -> Any:
        return [super().train_dataloader()]

    train_eval_dataloader = None  # type: ignore[assignment]


def test_an_average_that_finds_no_train_data_for_batch_norm_names_its_argument() -> None:
    class Net(ConvNet):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch[0], batch_idx)

    net = Net(in_channels=1, n_classes=N_CLASSES, widths=[4], weight_averaging="ema")
    with pytest.raises(ValueError, match=r"`weight_averaging` must be 'none' where .* the train data come from a list"):
        fit(net, data=TwoLoaders())
    assert net.trainer.global_step == 0
    without = Net(in_channels=1, n_classes=N_CLASSES, widths=[4], weight_averaging="ema", norm="none")
    assert fit(without, data=TwoLoaders()).global_step > 0

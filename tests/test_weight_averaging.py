"""Averages of weights: what they are, that they are evaluated and kept, and that the training knows nothing of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from few_images import N_CLASSES, FewImages, fit, trainer
from hypothesis import given
from hypothesis import strategies as st
from small_training import Coordinator, assembly, assignment
from torch import Tensor, nn

from lightning_modules import ConvNet
from lightning_modules.arguments import ArgumentError
from lightning_modules.callbacks.epoch_checkpoint import load_checkpoint
from lightning_modules.callbacks.generalization_gap import GeneralizationGap
from lightning_modules.training.batch_norm_statistics import measure_batch_norm
from lightning_modules.training.weight_averaging import ema_decay_at, swa_averages
from search.messages import Action
from search.worker.training import train

N_EPOCHS = 3
AVERAGES: dict[str, dict[str, Any]] = {
    "none": {},
    "ema": {"weight_averaging": "ema", "ema_decay": 0.8},
    "swa": {"weight_averaging": "swa", "swa_start": 0.5},
}

Weights = dict[str, Tensor]


def make_net(average: str, **settings: Any) -> ConvNet:
    torch.manual_seed(3)
    return ConvNet(in_channels=1, n_classes=N_CLASSES, widths=[4], **AVERAGES[average], **settings)


def copied(weights: Weights) -> Weights:
    return {name: value.clone() for name, value in weights.items()}


def are_close(first: Weights, second: Weights) -> bool:
    return all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


def are_equal(first: Weights, second: Weights) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


class Watcher(pl.Callback):
    """The weights after each step and after each epoch, those that are validated, and the metrics of each epoch."""

    def __init__(self) -> None:
        self.steps: list[Weights] = []
        self.epochs: list[Weights] = []
        self.validated: list[Weights] = []
        self.metrics: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.steps.append(copied(dict(pl_module.named_parameters())))

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.validated.append(copied(pl_module.state_dict()))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs.append(copied(dict(pl_module.named_parameters())))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._remember(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._remember(trainer)

    def _remember(self, trainer: pl.Trainer) -> None:
        self.metrics.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def watched(net: ConvNet, *callbacks: pl.Callback, **changed: Any) -> Watcher:
    watcher = Watcher()
    fit(net, watcher, *callbacks, max_epochs=N_EPOCHS, **changed)
    return watcher


def mean(weights: list[Weights]) -> Weights:
    return {name: torch.stack([each[name] for each in weights]).mean(dim=0) for name in weights[0]}


@given(n=st.integers(0, 10_000), decay=st.floats(0.0, 0.9999))
def test_decay_grows_to_its_value_and_no_further(n: int, decay: float) -> None:
    assert 0.0 <= ema_decay_at(n, decay=decay) <= ema_decay_at(n + 1, decay=decay) <= decay
    assert ema_decay_at(1_000_000, decay=decay) == decay


def test_swa_averages_from_its_share_of_the_epochs_on() -> None:
    assert [epoch for epoch in range(1, 9) if swa_averages(epoch, max_epochs=8, start=0.75)] == [6, 7, 8]
    assert swa_averages(1, max_epochs=8, start=0.0)
    assert swa_averages(55, max_epochs=100, start=0.55)  # 0.55 * 100 is more than 55 in floating point


def test_exponential_average_of_every_step_is_validated_and_kept() -> None:
    net = make_net("ema")
    watcher = watched(net)
    average, n_steps = watcher.steps[0], len(watcher.steps) // N_EPOCHS
    for n, weights in enumerate(watcher.steps[1:], start=1):
        decay = min(0.8, (1 + n) / (10 + n))
        average = {name: decay * value + (1 - decay) * weights[name] for name, value in average.items()}
        if (n + 1) % n_steps == 0:
            assert are_close(average, watcher.validated[n // n_steps])
            assert not are_close(average, weights)
    assert are_equal(net.state_dict(), watcher.validated[-1])


def test_plain_average_of_the_last_epochs_is_validated_and_kept() -> None:
    net = make_net("swa")
    watcher = watched(net)
    for n_epochs, validated in enumerate(watcher.validated, start=1):
        # Averaging begins when half of the three epochs is over; before, the weights themselves are evaluated.
        assert are_close(mean(watcher.epochs[min(1, n_epochs - 1) : n_epochs]), validated)
    assert are_equal(net.state_dict(), watcher.validated[-1])


@pytest.mark.parametrize("average", ["ema", "swa"])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_training_is_bit_by_bit_what_it_is_without_an_average(average: str, norm: str) -> None:
    with_average, without = watched(make_net(average, norm=norm)), watched(make_net("none", norm=norm))
    assert all(are_equal(*pair) for pair in zip(with_average.steps, without.steps, strict=True))
    assert [each.get("train_loss") for each in with_average.metrics] == [
        each.get("train_loss") for each in without.metrics
    ]
    assert with_average.metrics[-1]["val_loss"] != without.metrics[-1]["val_loss"]


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_batch_norm_of_the_average_knows_the_train_data(average: str) -> None:
    net = make_net(average)
    watched(net)
    kept = copied(net.state_dict())
    inputs: list[Tensor] = []
    layer = next(each for each in net.modules() if isinstance(each, nn.BatchNorm2d))
    layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    data = FewImages()
    with torch.no_grad():
        net.eval()(torch.cat([images for images, _ in data.train_eval_dataloader()]))
    assert layer.running_mean is not None and layer.running_var is not None
    assert torch.allclose(layer.running_mean, inputs[0].mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(layer.running_var, inputs[0].var(dim=(0, 2, 3)), rtol=1e-4)
    assert are_equal(net.state_dict(), kept)


def test_measuring_leaves_modes_frozen_layers_and_random_numbers_alone() -> None:
    module = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1))
    module[2].eval()
    batches = [torch.randn(8, 2, 3, 3) + 5.0, torch.randn(8, 2, 3, 3) + 7.0]
    state = torch.get_rng_state()
    measure_batch_norm(module, batches)
    assert torch.equal(torch.get_rng_state(), state)
    assert [each.training for each in module] == [True, True, False, True]
    assert torch.allclose(module[0].running_mean, torch.cat(batches).mean(dim=(0, 2, 3)), atol=1e-5)
    assert (module[0].momentum, module[2].momentum) == (0.1, 0.1)
    assert torch.equal(module[2].running_mean, torch.zeros(2))


@pytest.mark.slow
@pytest.mark.parametrize("average", ["ema", "swa"])
def test_gap_is_that_of_the_average_and_changes_nothing(average: str) -> None:
    gap = GeneralizationGap(monitor="val_acc", maximize=True, seed=0, log=False, n_samples=10_000)
    net, other = make_net(average), make_net(average)
    with_gap, without = watched(net, gap), watched(other)
    assert with_gap.metrics == without.metrics
    assert all(are_equal(*pair) for pair in zip(with_gap.steps, without.steps, strict=True))
    assert are_equal(net.state_dict(), other.state_dict())
    measured = trainer().validate(net, FewImages().train_eval_dataloader(), verbose=False)[0]
    assert gap.metrics["train_eval_loss"] == pytest.approx(measured["val_loss"], rel=1e-5)


def trial(directory: Path, average: str, **changed: Any) -> Any:
    args = {"in_channels": 1, "n_classes": N_CLASSES, "widths": [4], **AVERAGES[average]}
    made = assembly(ConvNet, FewImages, model_args=args)
    return assignment(directory, assembly=made, **({"n_epochs": N_EPOCHS, "horizon_epochs": N_EPOCHS} | changed))


@pytest.mark.slow
@pytest.mark.parametrize("average", ["ema", "swa"])
def test_paused_and_resumed_equals_uninterrupted(average: str, tmp_path: Path) -> None:
    whole, parts = Coordinator(), Coordinator(dict.fromkeys(range(1, N_EPOCHS), Action.PAUSE))
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    assert train(trial(tmp_path / "whole", average), whole).error == ""
    for done in range(N_EPOCHS):
        resumed = train(trial(tmp_path / "parts", average, resume=done > 0, n_epochs_reported=done), parts)
        assert (resumed.n_epochs, resumed.error) == (done + 1, "")
    assert parts.comparable == whole.comparable
    checkpoints = [load_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "parts")]
    for key in ("state_dict", "current_model_state", "averaging_state"):
        assert are_equal(checkpoints[0][key], checkpoints[1][key])
    assert not are_close(checkpoints[0]["state_dict"], checkpoints[0]["current_model_state"])
    # What the checkpoint delivers is what was validated.
    net = make_net("none")
    net.load_state_dict(checkpoints[0]["state_dict"])
    (measured,) = trainer().validate(net, FewImages(), verbose=False)
    assert measured["val_loss"] == pytest.approx(whole.reports[-1].metrics["val_loss"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("average", ["ema", "swa"])
def test_refit_keeps_the_average_also_when_it_was_killed_at_its_end(average: str, tmp_path: Path) -> None:
    assert train(trial(tmp_path, average, merge_validation=True), Coordinator()).error == ""
    checkpoint, weights = load_checkpoint(tmp_path / "last.ckpt"), load_checkpoint(tmp_path / "weights.pt")
    assert are_equal(weights, checkpoint["state_dict"])
    assert not are_close(weights, checkpoint["current_model_state"])
    (tmp_path / "weights.pt").unlink()
    again = trial(tmp_path, average, merge_validation=True, resume=True, n_epochs_reported=N_EPOCHS)
    assert train(again, Coordinator()).error == ""
    assert are_equal(weights, load_checkpoint(tmp_path / "weights.pt"))


def test_checkpoint_before_the_averaging_delivers_the_weights_themselves(tmp_path: Path) -> None:
    for average in ("none", "swa"):
        (tmp_path / average).mkdir()
        train(trial(tmp_path / average, average, n_epochs=1), Coordinator())
    plain, early = (load_checkpoint(tmp_path / average / "last.ckpt") for average in ("none", "swa"))
    assert are_equal(plain["state_dict"], early["state_dict"])
    assert "current_model_state" not in early


def test_swa_needs_to_know_when_the_training_ends() -> None:
    net = make_net("swa", lr_schedule="constant")
    with pytest.raises(ArgumentError, match="the Trainer has no `max_epochs`"):
        fit(net, max_epochs=-1, max_steps=3)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("weight_averaging", "emma", "Did you mean 'ema'"),
        ("ema_decay", 1.0, r"\[0, 1\)"),
        ("swa_start", -0.1, r"\[0, 1\)"),
    ],
)
def test_what_is_out_of_its_bounds_is_named(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must be .*{expected}"):
        ConvNet(in_channels=1, n_classes=N_CLASSES, **{name: value})

"""Schedulers built from settings, alone and in a training."""

from __future__ import annotations

import itertools
import math
import types
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lightning_modules.arguments import ArgumentError
from lightning_modules.conv_net import ConvNet
from lightning_modules.data.tensor_loader import TensorLoader
from lightning_modules.training.schedulers import MONITORS, SCHEDULES, ScheduleSettings, make_schedulers

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
]

STEPS_PER_EPOCH = 5


def make_optimizer() -> torch.optim.SGD:
    """Two groups, one of them at a tenth of the other's learning rate."""
    weights = [nn.Parameter(torch.ones(1)) for _ in range(2)]
    return torch.optim.SGD([{"params": weights[:1]}, {"params": weights[1:], "lr": 0.02}], lr=0.2)


def rates_of(chosen: ScheduleSettings, losses: list[float]) -> list[list[float]]:
    """The learning rates of both groups at each step, as Lightning would move them, and those after the last one."""
    optimizer = make_optimizer()
    n_steps = STEPS_PER_EPOCH * len(losses)
    schedulers = make_schedulers(optimizer, chosen, n_steps=n_steps, max_epochs=len(losses))
    rates = []
    for loss in losses:
        for _ in range(STEPS_PER_EPOCH):
            rates.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            for each in schedulers:
                if each["interval"] == "step":
                    each["scheduler"].step()
        for each in schedulers:
            if each["interval"] == "epoch":
                each["scheduler"].step(loss)
    return [*rates, [group["lr"] for group in optimizer.param_groups]]


@given(
    name=st.sampled_from(SCHEDULES),
    decay=st.floats(1e-6, 1.0),
    warmup_epochs=st.floats(0.0, 3.5),
    losses=st.lists(st.floats(0.01, 10.0), min_size=4, max_size=25),
)
@settings(max_examples=40, deadline=None)
def test_every_schedule_starts_at_the_rate_stays_within_its_ends_and_scales_each_group(
    name: str, decay: float, warmup_epochs: float, losses: list[float]
) -> None:
    chosen = ScheduleSettings(name=name, decay=decay, warmup_epochs=warmup_epochs, patience_epochs=1)
    rates = rates_of(chosen, losses)
    n_warmup_steps = 0 if warmup_epochs == 0.0 else max(round(warmup_epochs * STEPS_PER_EPOCH), 1)
    for first, second in rates:
        assert second == pytest.approx(first / 10.0)
    multiples = [first / 0.2 for first, _ in rates]
    assert multiples[n_warmup_steps] == pytest.approx(1.0)
    rise = multiples[: n_warmup_steps + 1]
    assert rise == pytest.approx([(step + 1) / (n_warmup_steps + 1) for step in range(n_warmup_steps + 1)])
    after = multiples[n_warmup_steps:]
    assert min(after) >= (1.0 if name == "constant" else decay) * (1.0 - 1e-9)
    assert max(after) <= 1.0 + 1e-9
    if name != "cyclic":
        assert all(later <= earlier * (1.0 + 1e-9) for earlier, later in itertools.pairwise(after))
    if name not in ("constant", "plateau"):
        assert after[-1] == pytest.approx(decay)


def test_plateau_drops_after_epochs_without_improvement_like_the_steps_down_to_decay() -> None:
    chosen = ScheduleSettings(name="plateau", decay=1e-3, patience_epochs=2)
    improving = [2.0**-epoch for epoch in range(6)]
    rates = rates_of(chosen, [*improving, *[improving[-1] * 0.995] * 20])
    by_epoch = [first / 0.2 for first, _ in rates[::STEPS_PER_EPOCH]]
    # The sixth epoch was the last to improve the loss by more than 1 %.
    expected = [1.0] * 8 + [0.1] * 2 + [0.01] * 2 + [0.001] * 15
    assert by_epoch == pytest.approx(expected)


def test_plateau_keeps_the_rate_while_the_loss_improves() -> None:
    chosen = ScheduleSettings(name="plateau", decay=1e-3, patience_epochs=1)
    rates = rates_of(chosen, [0.98**epoch for epoch in range(30)])
    assert {first for first, _ in rates} == {0.2}


def test_plateau_does_not_drop_while_it_warms_up() -> None:
    chosen = ScheduleSettings(name="plateau", decay=1e-3, patience_epochs=1, warmup_epochs=3.5)
    rates = rates_of(chosen, [1.0] * 8)
    by_epoch = [first / 0.2 for first, _ in rates[::STEPS_PER_EPOCH]]
    n = round(3.5 * STEPS_PER_EPOCH)
    warming = [(step + 1) / (n + 1) for step in range(0, n, STEPS_PER_EPOCH)]
    assert by_epoch == pytest.approx([*warming, 1.0, 0.1, 0.01, 0.001, 0.001])


@pytest.mark.parametrize(("name", "decay"), [("constant", 0.1), ("plateau", 1.0)])
def test_what_never_changes_needs_no_scheduler(name: str, decay: float) -> None:
    chosen = ScheduleSettings(name=name, decay=decay)
    assert make_schedulers(make_optimizer(), chosen, n_steps=math.inf, max_epochs=-1) == []


@pytest.mark.parametrize(
    ("chosen", "n_steps", "max_epochs", "message"),
    [
        ({"warmup_epochs": 4.0}, 20, 4, "`warmup_epochs` must be less than the 4 epochs .* but got 4.0"),
        (
            {"warmup_epochs": 1.0, "name": "plateau"},
            math.inf,
            4,
            "`warmup_epochs` 1.0 is a part of the whole training.*`max_epochs`",
        ),
        ({"warmup_epochs": 1.0, "name": "constant"}, 20, -1, "`warmup_epochs` 1.0 is a part"),
        ({}, math.inf, 4, "`lr_schedule` 'cosine' spans the whole training.*`max_epochs`"),
        ({}, -1, 4, "`lr_schedule` 'cosine' spans the whole training"),
    ],
)
def test_length_of_the_training_must_be_known_and_suffice(
    chosen: dict[str, Any], n_steps: float, max_epochs: int, message: str
) -> None:
    made = ScheduleSettings(**({"name": "cosine", "decay": 0.1} | chosen))
    with pytest.raises(ValueError, match=message):
        make_schedulers(make_optimizer(), made, n_steps=n_steps, max_epochs=max_epochs)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr_schedule": "plateu"}, "`lr_schedule` must be one of .*Did you mean 'plateau'"),
        ({"lr_decay": 1.5}, "`lr_decay`"),
        ({"lr_cycles": 0}, "`lr_cycles` must be an integer >= 1, but got 0"),
        ({"warmup_epochs": -1.0}, r"`warmup_epochs` must be a number in \[0, inf\)"),
        ({"lr_monitor": "val_acc"}, r"`lr_monitor` must be one of \['train_loss', 'val_loss'\], but got 'val_acc'"),
        ({"lr_patience_epochs": 0}, "`lr_patience_epochs` must be an integer >= 1"),
        ({"init_fan_mode": "fan"}, "`init_fan_mode`"),
        ({"init_distribution": "flat"}, "`init_distribution`"),
        ({"final_momentum": 2.0}, "`final_momentum`"),
    ],
)
def test_classifier_refuses_arguments_out_of_bounds(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_net(**changed)


# ---- in a training ---------------------------------------------------------------------------------------------------


class Watch(pl.Callback):
    """Records what each step used and what each epoch logged."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.momenta: list[float] = []
        self.logged: list[dict[str, float]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.momenta.append(trainer.optimizers[0].param_groups[0].get("momentum", math.nan))

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.logged.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def make_net(**changed: Any) -> ConvNet:
    return ConvNet(**({"in_channels": 1, "n_classes": 3, "widths": (4,), "norm": "none", "dropout": 0.0} | changed))


def make_loader(batch_size: int) -> TensorLoader:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(30, 1, 8, 8, generator=generator)
    return TensorLoader(TensorDataset(images, torch.arange(30) % 3), batch_size=batch_size, shuffle=True)


def fit(net: ConvNet, *, max_epochs: int, batch_size: int = 10, **trainer: Any) -> Watch:
    watch = Watch()
    torch.manual_seed(1)
    pl.Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch],
        **trainer,
    ).fit(net, make_loader(batch_size), make_loader(batch_size))
    return watch


@pytest.mark.parametrize("monitor", MONITORS)
def test_plateau_goes_by_the_loss_that_it_is_told(monitor: str) -> None:
    net = make_net(
        optimizer="sgd",
        learning_rate=1e-9,
        lr_schedule="plateau",
        lr_decay=1e-3,
        lr_monitor=monitor,
        lr_patience_epochs=2,
    )
    watch = fit(net, max_epochs=6)
    # Nothing is learned, so the first epoch stays the best.
    assert watch.rates[::3] == pytest.approx([1e-9, 1e-9, 1e-9, 1e-10, 1e-10, 1e-11])


@pytest.mark.parametrize(("accumulated", "n_steps"), [(1, 12), (2, 8)])
def test_momentum_anneals_over_the_training_whatever_the_learning_rate(accumulated: int, n_steps: int) -> None:
    net = make_net(optimizer="nesterov", learning_rate=0.01, momentum=0.5, final_momentum=0.98)
    watch = fit(net, max_epochs=4, accumulate_grad_batches=accumulated)
    used = watch.momenta if accumulated == 1 else [each for i, each in enumerate(watch.momenta) if i % 3 > 0]
    assert used == pytest.approx([1.0 - 0.5 * 0.04 ** (step / n_steps) for step in range(n_steps)])


def test_momentum_may_begin_at_zero() -> None:
    watch = fit(make_net(optimizer="nesterov", momentum=0.0, final_momentum=0.9), max_epochs=2)
    assert watch.momenta == pytest.approx([1.0 - 0.1 ** (step / 6) for step in range(6)])


def test_lbfgs_takes_a_step_an_epoch_and_counts_its_images_once() -> None:
    torch.manual_seed(0)
    net = make_net(optimizer="lbfgs", learning_rate=1.0, lr_schedule="constant", weight_decay=0.0)
    images, labels = make_loader(30).dataset.tensors
    evaluated: list[float] = []
    counted = net.training_step

    def counting(batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = counted(batch, batch_idx)
        evaluated.append(loss.item())
        return loss

    net.training_step = counting  # type: ignore[method-assign]
    with torch.no_grad():
        before = nn.functional.cross_entropy(net(images), labels).item()
        right = (net(images).argmax(dim=1) == labels).float().mean().item()
    first = fit(net, max_epochs=1, batch_size=30)
    assert len(evaluated) > 10
    logged = first.logged[0]
    assert logged["train_loss"] == pytest.approx(before, rel=1e-5)
    assert logged["train_acc"] == pytest.approx(right)
    with torch.no_grad():
        after = nn.functional.cross_entropy(net(images), labels).item()
    assert after < 0.9 * before
    assert logged["val_loss"] == pytest.approx(after, rel=1e-4)


def test_lbfgs_refuses_batches_even_if_only_one_is_read() -> None:
    with pytest.raises(ArgumentError, match="an epoch has 3 batches"):
        fit(make_net(optimizer="lbfgs"), max_epochs=1, limit_train_batches=1)


def test_annealed_momentum_needs_the_length_of_the_training() -> None:
    net = make_net(momentum=0.5, final_momentum=0.9, lr_schedule="constant")
    with pytest.raises(ArgumentError, match=r"`final_momentum` 0\.9 is that of the end of the training.*`max_epochs`"):
        fit(net, max_epochs=-1)


def test_ranks_reduce_the_learning_rate_by_their_common_loss() -> None:
    net, optimizer = make_net(), make_optimizer()
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    # The other rank's loss is 3; strategies sum in place.
    strategy = types.SimpleNamespace(reduce=lambda own, reduce_op: own.add_(3.0))
    net.trainer = types.SimpleNamespace(world_size=2, strategy=strategy)  # type: ignore[assignment]
    logged = torch.tensor(1.0)
    net.lr_scheduler_step(plateau, logged)
    assert plateau.best == 2.0
    assert logged == 1.0


@pytest.mark.parametrize(
    ("trainer", "n_epochs_before"), [({"limit_val_batches": 0}, 0), ({"check_val_every_n_epoch": 2}, 1)]
)
def test_a_plateau_whose_loss_is_not_there_names_its_argument(trainer: dict[str, int], n_epochs_before: int) -> None:
    net = make_net(optimizer="sgd", lr_schedule="plateau", lr_monitor="val_loss")
    message = (
        "`lr_monitor` must be a loss that every epoch has, but got 'val_loss', and an epoch has none: .*train_loss"
    )
    with pytest.raises(ArgumentError, match=message):
        fit(net, max_epochs=3, **trainer)
    assert net.trainer.global_step == 3 * n_epochs_before


def test_a_plateau_goes_by_the_train_loss_without_validation() -> None:
    net = make_net(optimizer="sgd", learning_rate=1e-9, lr_schedule="plateau", lr_decay=1e-3, lr_patience_epochs=2)
    watch = fit(net, max_epochs=4, limit_val_batches=0)
    assert watch.rates[::3] == pytest.approx([1e-9, 1e-9, 1e-9, 1e-10])

"""L1, L2 and max-norm: what they cost, what they pull on, and how L2 differs from decoupled weight decay."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from few_images import N_CLASSES, FewImages, fit
from torch import Tensor, nn

from lightning_modules import ConvNet
from lightning_modules.training.optimizers import make_optimizer
from lightning_modules.training.weight_regularization import (
    WeightRegularization,
    limit_weight_norms,
    regularized_weights,
    weight_penalty,
)


def make_net(**settings: Any) -> ConvNet:
    torch.manual_seed(3)
    changed = {"norm": "none", "dropout": 0.0, "hidden_width": 5, "lr_schedule": "constant"} | settings
    return ConvNet(in_channels=1, n_classes=N_CLASSES, widths=[4], **changed)


def batch() -> tuple[Tensor, Tensor]:
    images, labels = next(iter(FewImages().val_dataloader()))
    return images.double(), labels


def after_steps(net: ConvNet, *, n_steps: int = 3) -> dict[str, Tensor]:
    """Train in float64 on one batch, without a Trainer."""
    net.double()
    optimizer = make_optimizer(net.parameter_groups(), net.optimizer_settings)
    for _ in range(n_steps):
        optimizer.zero_grad()
        net.training_step(batch(), 0).backward()
        optimizer.step()
    return dict(net.state_dict())


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    return max((first[name] - second[name]).abs().max().item() for name in first)


def test_penalties_are_the_sums_of_absolute_and_half_squared_weights_without_biases() -> None:
    net = make_net().double()
    with torch.no_grad():
        for bias in (parameter for parameter in net.parameters() if parameter.ndim == 1):
            bias.fill_(100.0)
    weights = [parameter for parameter in net.parameters() if parameter.ndim > 1]
    penalty = weight_penalty(net, WeightRegularization(l1_penalty=0.3, l2_penalty=0.2))
    assert isinstance(penalty, Tensor)
    by_hand = sum(0.3 * each.abs().sum().item() + 0.1 * (each**2).sum().item() for each in weights)
    assert penalty.item() == pytest.approx(by_hand, rel=1e-12)
    penalty.backward()
    for each in weights:
        assert torch.allclose(each.grad, 0.3 * each.sign() + 0.2 * each)
    assert all(parameter.grad is None for parameter in net.parameters() if parameter.ndim == 1)


def test_norms_and_frozen_weights_are_left_alone_and_shared_weights_count_once() -> None:
    first, second, frozen = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4).requires_grad_(False)
    second.weight = first.weight
    module = nn.Sequential(first, nn.LayerNorm([2, 2]), second, frozen)
    assert [id(each) for each in regularized_weights(module)] == [id(first.weight)]


def test_penalty_is_in_what_is_minimized_and_in_no_logged_loss() -> None:
    plain, penalized = make_net(learning_rate=1e-12), make_net(learning_rate=1e-12, l2_penalty=1.0)
    difference = penalized.double().training_step(batch(), 0) - plain.double().training_step(batch(), 0)
    expected = sum((each**2).sum().item() / 2 for each in regularized_weights(plain))
    assert expected > 0.1
    assert difference.item() == pytest.approx(expected)
    logged = [fit(net.float()).callback_metrics["train_loss"].item() for net in (plain, penalized)]
    assert logged[0] == pytest.approx(logged[1], rel=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov"])
def test_l2_penalty_is_the_weight_decay_of_sgd(optimizer: str) -> None:
    by_loss = after_steps(make_net(optimizer=optimizer, l2_penalty=0.1, weight_decay=0.0))
    by_optimizer = after_steps(make_net(optimizer=optimizer, l2_penalty=0.0, weight_decay=0.1))
    without = after_steps(make_net(optimizer=optimizer, l2_penalty=0.0, weight_decay=0.0))
    assert largest_difference(by_loss, by_optimizer) < 1e-12
    assert largest_difference(by_loss, without) > 1e-3


def test_decoupled_weight_decay_is_something_else() -> None:
    coupled = after_steps(make_net(optimizer="adamw", l2_penalty=0.1, weight_decay=0.0))
    decoupled = after_steps(make_net(optimizer="adamw", l2_penalty=0.0, weight_decay=0.1))
    assert largest_difference(coupled, decoupled) > 1e-3


def unit_norms(module: nn.Module) -> Tensor:
    return torch.cat([each.detach().flatten(1).norm(dim=1) for each in regularized_weights(module)])


class Norms(pl.Callback):
    """The longest unit after each step."""

    def __init__(self) -> None:
        self.longest: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.longest.append(unit_norms(pl_module).max().item())


def test_max_norm_holds_after_every_step() -> None:
    bounded, free = Norms(), Norms()
    fit(make_net(max_norm=0.8), bounded)
    fit(make_net(), free)
    assert max(bounded.longest) <= 0.8 * (1 + 1e-6)
    assert max(free.longest) > 1.0
    assert len(bounded.longest) == len(free.longest) > 2


def test_max_norm_shortens_long_units_and_leaves_the_others_bit_by_bit() -> None:
    net = make_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    bound = unit_norms(net).median().item()
    limit_weight_norms(regularized_weights(net), max_norm=bound)
    for name, after in net.state_dict().items():
        if after.ndim == 1:
            assert torch.equal(after, before[name])
            continue
        lengths = before[name].flatten(1).norm(dim=1)
        within = lengths <= bound
        assert torch.equal(after[within], before[name][within])
        shortened = before[name].flatten(1) * (bound / lengths)[:, None]
        assert torch.allclose(after.flatten(1)[~within], shortened[~within], rtol=1e-5)


@pytest.mark.parametrize("name", ["l1_penalty", "l2_penalty", "max_norm"])
@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan"), None])
def test_what_is_out_of_its_bounds_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must be a number in \[0, inf\)"):
        make_net(**{name: value})

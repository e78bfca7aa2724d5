from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from lightning_modules.training.optimizers import (
    OPTIMIZERS,
    OptimizerSettings,
    make_optimizer,
    parameter_groups,
)


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))


def make(network: nn.Module, **settings: Any) -> torch.optim.Optimizer:
    chosen = OptimizerSettings(**settings)
    return make_optimizer(parameter_groups(network, weight_decay=chosen.weight_decay), chosen)


def take_step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    network(images).logsumexp(dim=1).sum().backward()
    optimizer.step()


def test_groups_hold_each_trainable_parameter_once(network: nn.Sequential) -> None:
    network[0].requires_grad_(False)
    grouped = [parameter for group in parameter_groups(network, weight_decay=0.1) for parameter in group["params"]]
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert len(grouped) == len(trainable) == 4
    assert {id(parameter) for parameter in grouped} == {id(parameter) for parameter in trainable}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_shrinks_weights_and_leaves_biases_and_norms(name: str, network: nn.Sequential) -> None:
    optimizer = make(network, name=name, learning_rate=0.1, weight_decay=0.5, momentum=0.0)
    before = {key: parameter.detach().clone() for key, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, parameter in network.named_parameters():
        decayed = key in ("0.weight", "4.weight")
        torch.testing.assert_close(parameter.detach(), before[key] * (0.95 if decayed else 1.0))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sgd", {"momentum": 0.7, "nesterov": False, "lr": 0.03}),
        ("nesterov", {"momentum": 0.7, "nesterov": True, "lr": 0.03}),
        ("adamw", {"lr": 0.03}),
    ],
)
def test_names_stand_for_what_they_say(name: str, expected: dict[str, Any], network: nn.Sequential) -> None:
    optimizer = make(network, name=name, learning_rate=0.03, weight_decay=0.01, momentum=0.7)
    assert isinstance(optimizer, torch.optim.AdamW if name == "adamw" else torch.optim.SGD)
    for group in optimizer.param_groups:
        assert {key: group[key] for key in expected} == expected


def test_without_momentum_nesterov_is_sgd(network: nn.Sequential) -> None:
    start = {key: value.clone() for key, value in network.state_dict().items()}
    ends = []
    for name in ("sgd", "nesterov"):
        network.load_state_dict(start)
        optimizer = make(network, name=name, learning_rate=0.01, momentum=0.0)
        for _ in range(3):
            take_step(network, optimizer)
        ends.append(network[4].weight.detach().clone())
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], start["4.weight"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "nesterof"}, "`optimizer` must be one of .*but got 'nesterof'.*Did you mean 'nesterov'"),
        ({"learning_rate": 0.0}, r"`learning_rate` must be a number in \(0, inf\), but got 0\.0"),
        ({"learning_rate": math.nan}, "`learning_rate`"),
        ({"learning_rate": "1e-3"}, "`learning_rate` .* but got '1e-3'"),
        ({"weight_decay": -1e-4}, "`weight_decay`"),
        ({"momentum": 1.0}, "`momentum`"),
        ({"momentum": True}, "`momentum`"),
    ],
)
def test_refuses_values_out_of_bounds(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimizerSettings(**({"name": "sgd", "learning_rate": 0.1} | changed))


def test_refuses_a_module_with_nothing_to_train() -> None:
    with pytest.raises(ValueError, match="trainable parameter"):
        make(nn.ReLU(), name="sgd", learning_rate=0.1)

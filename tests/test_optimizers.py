from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_modules.training.optimizers import (
    OptimizerSettings,
    annealed_momentum,
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


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adamw"])
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
        ("adamw", {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-6}),
        ("adam", {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-6}),
        ("rmsprop", {"lr": 0.03, "alpha": 0.7, "eps": 1e-6, "momentum": 0}),
        ("adagrad", {"lr": 0.03, "eps": 1e-6, "lr_decay": 0}),
        ("lbfgs", {"lr": 0.03, "max_iter": 3, "history_size": 4, "line_search_fn": "strong_wolfe"}),
    ],
)
def test_names_stand_for_what_they_say(name: str, expected: dict[str, Any], network: nn.Sequential) -> None:
    optimizer = make(
        network,
        name=name,
        learning_rate=0.03,
        weight_decay=0.01,
        momentum=0.7,
        beta1=0.8,
        beta2=0.95,
        rms_decay=0.7,
        epsilon=1e-6,
        lbfgs_max_iter=3,
        lbfgs_history_size=4,
    )
    kinds = {
        "adamw": torch.optim.AdamW,
        "adam": torch.optim.Adam,
        "rmsprop": torch.optim.RMSprop,
        "adagrad": torch.optim.Adagrad,
        "lbfgs": torch.optim.LBFGS,
    }
    assert isinstance(optimizer, kinds.get(name, torch.optim.SGD))
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


def test_annealed_momentum_stays_at_its_end_in_a_training_that_is_longer_than_was_estimated() -> None:
    chosen = OptimizerSettings(name="sgd", learning_rate=0.1, momentum=0.5, final_momentum=0.98)
    assert annealed_momentum(1.5, chosen) == annealed_momentum(1.0, chosen) == 0.98


def test_momentum_that_rises_from_zero_is_nesterovs_too(network: nn.Sequential) -> None:
    for name, is_nesterovs in (("sgd", False), ("nesterov", True)):
        optimizer = make(network, name=name, learning_rate=0.01, momentum=0.0, final_momentum=0.9)
        assert {(group["momentum"], group["nesterov"]) for group in optimizer.param_groups} == {(0.0, is_nesterovs)}


def test_scales_and_shifts_do_not_decay_whatever_their_shape() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.LayerNorm([4, 6, 6]))
    decays = {
        id(each): group["weight_decay"]
        for group in parameter_groups(module, weight_decay=0.1)
        for each in group["params"]
    }
    assert len(decays) == 4
    assert [key for key, decay in decays.items() if decay] == [id(module[0].weight)]


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
        ({"final_momentum": 1.0}, r"`final_momentum` must be a number in \[0, 1\), but got 1\.0"),
        ({"beta1": -0.1}, "`beta1`"),
        ({"beta2": 1.0}, "`beta2`"),
        ({"rms_decay": math.inf}, "`rms_decay`"),
        ({"epsilon": 0.0}, r"`epsilon` must be a number in \(0, inf\)"),
        ({"lbfgs_max_iter": 0}, "`lbfgs_max_iter` must be an integer >= 1"),
        ({"lbfgs_history_size": 2.5}, "`lbfgs_history_size`"),
    ],
)
def test_refuses_values_out_of_bounds(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimizerSettings(**({"name": "sgd", "learning_rate": 0.1} | changed))


def test_refuses_a_module_with_nothing_to_train() -> None:
    with pytest.raises(ValueError, match="trainable parameter"):
        make(nn.ReLU(), name="sgd", learning_rate=0.1)


momenta = st.floats(0.0, 0.999)


@given(first=momenta, last=momenta, one=st.floats(0.0, 1.0), other=st.floats(0.0, 1.0))
def test_annealed_momentum_goes_from_first_to_last_and_never_turns_back(
    first: float, last: float, one: float, other: float
) -> None:
    chosen = OptimizerSettings(name="sgd", learning_rate=0.1, momentum=first, final_momentum=last)
    early, late = (annealed_momentum(progress, chosen) for progress in sorted((one, other)))
    assert (annealed_momentum(0.0, chosen), annealed_momentum(1.0, chosen)) == (first, last)
    for value in (early, late):
        assert min(first, last) - 1e-12 <= value <= max(first, last) + 1e-12
    assert (late - early) * (last - first) >= -1e-12


def test_memory_of_an_annealed_momentum_grows_by_equal_factors() -> None:
    chosen = OptimizerSettings(name="nesterov", learning_rate=0.1, momentum=0.5, final_momentum=0.98)
    memories = [1.0 / (1.0 - annealed_momentum(step / 4, chosen)) for step in range(5)]
    assert [after / before for before, after in itertools.pairwise(memories)] == pytest.approx([25.0**0.25] * 4)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({}, True), ({"name": "adam"}, False), ({"final_momentum": None}, False), ({"final_momentum": 0.9}, False)],
)
def test_only_a_momentum_that_changes_is_annealed(changed: dict[str, Any], expected: bool) -> None:
    chosen = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "final_momentum": 0.99} | changed
    assert OptimizerSettings(**chosen).anneals_momentum is expected

"""L-BFGS estimates curvature from its own steps alone: what else moves the weights makes it begin anew."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.training.full_batch_lbfgs import FullBatchLBFGS
from lightning_modules.training.weight_regularization import bound_after_steps

Closure = Callable[[], Tensor]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def optimizer_of(module: nn.Module, *, max_norm: float = 0.0) -> FullBatchLBFGS:
    groups = [{"params": list(module.parameters()), "weight_decay": 0.0}]
    made = FullBatchLBFGS(groups, learning_rate=1.0, max_iter=4, history_size=10)
    if max_norm:
        bound_after_steps(made, module, max_norm=max_norm)
    return made


def closure_of(module: nn.Sequential, optimizer: FullBatchLBFGS, *, frozen: bool = False) -> Closure:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (40,), generator=generator)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(inputs), labels)
        loss.backward()
        if frozen:
            for parameter in module[0].parameters():
                parameter.grad = None
        return loss

    return closure


def step(module: nn.Sequential, optimizer: FullBatchLBFGS, *, frozen: bool = False) -> None:
    optimizer.step(closure_of(module, optimizer, frozen=frozen))


def is_equal(one: nn.Module, other: nn.Module) -> bool:
    """But for how sums round, which depends on where a copy lies in memory."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.allclose(*pair, rtol=1e-9, atol=1e-12) for pair in pairs)


@pytest.mark.parametrize("torchs_own_is_used", [False, True])
def test_a_step_after_a_projection_is_that_of_a_new_optimizer(torchs_own_is_used: bool) -> None:
    if torchs_own_is_used:  # torch then runs the hooks of a subclass within its own step, too
        torch.optim.LBFGS(network().parameters())
    module = network()
    optimizer = optimizer_of(module, max_norm=0.5)
    for _ in range(4):
        twin = copy.deepcopy(module)
        step(module, optimizer)
        step(twin, optimizer_of(twin, max_norm=0.5))
        assert is_equal(module, twin)


def test_a_bound_that_no_weight_reaches_leaves_the_history() -> None:
    bounded, free = network(), network()
    optimizers = optimizer_of(bounded, max_norm=1e6), optimizer_of(free)
    for number in range(3):
        alone = copy.deepcopy(free)
        for module, optimizer in zip((bounded, free), optimizers, strict=True):
            step(module, optimizer)
        assert is_equal(bounded, free)
        step(alone, optimizer_of(alone))
        assert is_equal(alone, free) is (number == 0)


@pytest.mark.parametrize("thaws", [True, False])
def test_when_frozen_weights_join_in_a_step_is_that_of_a_new_optimizer(thaws: bool) -> None:
    module = network()
    optimizer = optimizer_of(module)
    step(module, optimizer, frozen=True)
    twin = copy.deepcopy(module)
    step(module, optimizer, frozen=not thaws)
    step(twin, optimizer_of(twin), frozen=not thaws)
    assert is_equal(module, twin) is thaws


def test_an_optimizer_from_a_checkpoint_knows_of_the_projection() -> None:
    module = network()
    optimizer = optimizer_of(module, max_norm=0.5)
    step(module, optimizer)
    resumed = copy.deepcopy(module)
    loaded = optimizer_of(resumed, max_norm=0.5)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(module, optimizer)
    step(resumed, loaded)
    assert is_equal(module, resumed)

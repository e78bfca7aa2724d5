"""Every optimizer, step by step in float64, against the update equations of its source."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.training.full_batch_lbfgs import FullBatchLBFGS, check_full_batch
from lightning_modules.training.optimizers import OptimizerSettings, make_optimizer, parameter_groups

N_STEPS = 7
LEARNING_RATE = 0.05
Update = Callable[[dict[str, Tensor], Tensor, Tensor, int], Tensor]
"""From what it remembers, a parameter, its gradient and the number of the step (from 1) to the new parameter."""


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def loss_of(network: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(2, (8,), generator=generator)
    return nn.functional.cross_entropy(network(inputs), labels)


def sgd(memory: dict[str, Tensor], x: Tensor, dx: Tensor, t: int) -> Tensor:
    return x - LEARNING_RATE * dx


def momentum(memory: dict[str, Tensor], x: Tensor, dx: Tensor, t: int) -> Tensor:
    """CS231n: v = mu * v - learning_rate * dx; x += v."""
    memory["v"] = 0.9 * memory.get("v", torch.zeros_like(x)) - LEARNING_RATE * dx
    return x + memory["v"]


def nesterov(memory: dict[str, Tensor], x: Tensor, dx: Tensor, t: int) -> Tensor:
    """CS231n: v_prev = v; v = mu * v - learning_rate * dx; x += -mu * v_prev + (1 + mu) * v."""
    v_prev = memory.get("v", torch.zeros_like(x))
    memory["v"] = 0.9 * v_prev - LEARNING_RATE * dx
    return x - 0.9 * v_prev + 1.9 * memory["v"]


def adagrad(memory: dict[str, Tensor], x: Tensor, dx: Tensor, t: int) -> Tensor:
    """CS231n: cache += dx**2; x += -learning_rate * dx / (np.sqrt(cache) + eps)."""
    memory["cache"] = memory.get("cache", torch.zeros_like(x)) + dx**2
    return x - LEARNING_RATE * dx / (memory["cache"].sqrt() + 1e-3)


def rmsprop(memory: dict[str, Tensor], x: Tensor, dx: Tensor, t: int) -> Tensor:
    """CS231n: cache = decay_rate * cache + (1 - decay_rate) * dx**2; x += -learning_rate * dx / (sqrt(cache) + eps)."""
    memory["cache"] = 0.8 * memory.get("cache", torch.zeros_like(x)) + 0.2 * dx**2
    return x - LEARNING_RATE * dx / (memory["cache"].sqrt() + 1e-3)


def adam_direction(memory: dict[str, Tensor], g: Tensor, t: int) -> Tensor:
    """Kingma and Ba 2015, algorithm 1, with both bias corrections."""
    memory["m"] = 0.7 * memory.get("m", torch.zeros_like(g)) + 0.3 * g
    memory["v"] = 0.95 * memory.get("v", torch.zeros_like(g)) + 0.05 * g**2
    m_hat, v_hat = memory["m"] / (1.0 - 0.7**t), memory["v"] / (1.0 - 0.95**t)
    return m_hat / (v_hat.sqrt() + 1e-3)


def adam(memory: dict[str, Tensor], x: Tensor, dx: Tensor, t: int) -> Tensor:
    return x - LEARNING_RATE * adam_direction(memory, dx, t)


UPDATES: dict[str, tuple[Update, dict[str, Any]]] = {
    "sgd": (sgd, {"momentum": 0.0}),
    "momentum": (momentum, {"name": "sgd"}),
    "nesterov": (nesterov, {}),
    "adagrad": (adagrad, {"epsilon": 1e-3}),
    "rmsprop": (rmsprop, {"epsilon": 1e-3, "rms_decay": 0.8}),
    "adam": (adam, {"epsilon": 1e-3, "beta1": 0.7, "beta2": 0.95}),
    "adamw": (adam, {"epsilon": 1e-3, "beta1": 0.7, "beta2": 0.95}),
}


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("name", UPDATES)
def test_steps_follow_the_equations(name: str, weight_decay: float) -> None:
    update, changed = UPDATES[name]
    network, expected = make_network(), make_network()
    settings = OptimizerSettings(
        **({"name": name, "learning_rate": LEARNING_RATE, "weight_decay": weight_decay} | changed)
    )
    optimizer = make_optimizer(parameter_groups(network, weight_decay=weight_decay), settings)
    memories: dict[str, dict[str, Tensor]] = {key: {} for key, _ in expected.named_parameters()}
    for t in range(1, N_STEPS + 1):
        optimizer.zero_grad()
        loss_of(network).backward()
        optimizer.step()
        expected.zero_grad()
        loss_of(expected).backward()
        for key, x in expected.named_parameters():
            assert x.grad is not None
            decay = weight_decay if key.endswith("weight") else 0.0
            with torch.no_grad():
                if name == "adamw":  # Loshchilov and Hutter 2019, algorithm 2, line 12: beside the direction
                    x.copy_(update(memories[key], x, x.grad, t) - LEARNING_RATE * decay * x)
                else:  # the gradient of 0.5 * decay * x²
                    x.copy_(update(memories[key], x, x.grad + decay * x, t))
        for one, other in zip(network.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def lbfgs_direction(gradient: Tensor, steps: list[Tensor], changes: list[Tensor]) -> Tensor:
    """Nocedal and Wright 2006, algorithm 7.4, from the last steps s and changes y of the gradient, oldest first."""
    q = gradient.clone()
    alphas = []
    for s, y in reversed(list(zip(steps, changes, strict=True))):
        alpha = s.dot(q) / y.dot(s)
        q = q - alpha * y
        alphas.append(alpha)
    r = q * (steps[-1].dot(changes[-1]) / changes[-1].dot(changes[-1])) if steps else q
    for (s, y), alpha in zip(zip(steps, changes, strict=True), reversed(alphas), strict=True):
        r = r + s * (alpha - y.dot(r) / y.dot(s))
    return -r


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lbfgs_goes_along_its_direction_to_where_the_strong_wolfe_conditions_hold(weight_decay: float) -> None:
    network = make_network()
    history_size = 3
    settings = OptimizerSettings(
        name="lbfgs", learning_rate=1.0, weight_decay=weight_decay, lbfgs_max_iter=1, lbfgs_history_size=history_size
    )
    optimizer = make_optimizer(parameter_groups(network, weight_decay=weight_decay), settings)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    weights = [parameter for key, parameter in network.named_parameters() if key.endswith("weight")]

    def at_present() -> tuple[Tensor, float, Tensor]:
        penalty = sum((weight.square().sum() for weight in weights), torch.zeros(()))
        loss = loss_of(network) + 0.5 * weight_decay * penalty
        gradients = torch.autograd.grad(loss, parameters)
        flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
        return flat, loss.item(), torch.cat([gradient.flatten() for gradient in gradients])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(network)
        loss.backward()
        return loss

    steps: list[Tensor] = []
    changes: list[Tensor] = []
    x, loss, gradient = at_present()
    for _ in range(8):
        assert optimizer.step(closure).item() == pytest.approx(loss, rel=1e-12)
        new_x, new_loss, new_gradient = at_present()
        direction = lbfgs_direction(gradient, steps[-history_size:], changes[-history_size:])
        step = new_x - x
        size = step.dot(direction) / direction.dot(direction)
        torch.testing.assert_close(step, size * direction, rtol=1e-8, atol=1e-12)
        slope = gradient.dot(direction)
        assert slope < 0.0 < size
        assert new_loss <= loss + 1e-4 * size * slope
        assert new_gradient.dot(direction).abs() <= 0.9 * slope.abs()
        steps.append(step)
        changes.append(new_gradient - gradient)
        x, loss, gradient = new_x, new_loss, new_gradient


def test_lbfgs_with_decay_finds_the_minimum_of_loss_and_penalty_together() -> None:
    x, shift = torch.zeros(4, 1, dtype=torch.float64, requires_grad=True), torch.zeros(4, requires_grad=True)
    groups = [{"params": [x], "weight_decay": 0.5}, {"params": [shift], "weight_decay": 0.0}]
    optimizer = FullBatchLBFGS(groups, learning_rate=1.0, max_iter=30, history_size=5)
    target = torch.arange(1.0, 5.0, dtype=torch.float64)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = 0.5 * (x[:, 0] - target).square().sum() + 0.5 * (shift - target).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(x[:, 0].detach(), target / 1.5, rtol=1e-5, atol=0.0)
    torch.testing.assert_close(shift.detach(), target.float())


def test_lbfgs_draws_the_same_random_numbers_throughout_a_step_and_others_in_the_next() -> None:
    x = torch.ones(3, requires_grad=True)
    optimizer = FullBatchLBFGS([{"params": [x]}], learning_rate=1.0, max_iter=5, history_size=5)
    drawn: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        drawn.append(torch.rand(()).item())
        loss = (x.square() * torch.tensor([1.0, 9.0, 80.0])).sum() * (1.0 + drawn[-1])
        loss.backward()
        return loss

    n_evaluations = []
    for _ in range(2):
        optimizer.step(closure)
        n_evaluations.append(len(drawn))
    assert n_evaluations[0] > 2
    assert len(set(drawn[: n_evaluations[0]])) == len(set(drawn[n_evaluations[0] :])) == 1
    assert len(set(drawn)) == 2


def test_last_evaluation_of_an_lbfgs_step_is_finite_where_the_weights_are() -> None:
    x = torch.tensor([1.0], requires_grad=True)
    # Infinite but where it is, and the search may try but once.
    optimizer = FullBatchLBFGS([{"params": [x]}], learning_rate=1e6, max_iter=1, history_size=1)
    optimizer.param_groups[0]["max_eval"] = 1
    evaluated: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (x.square() if x.item() > 0.5 else x.square() * torch.inf).sum()
        loss.backward()
        evaluated.append(loss.item())
        return loss

    optimizer.step(closure)
    assert x.item() == 1.0
    assert evaluated == [1.0, torch.inf, 1.0]


def test_lbfgs_refuses_groups_with_options_of_their_own() -> None:
    groups = [{"params": [torch.ones(1, requires_grad=True)], "weight_decay": 0.1, "lr": 0.01}]
    with pytest.raises(ValueError, match=r"`optimizer` 'lbfgs' must have the same options .* has lr of its own"):
        make_optimizer(groups, OptimizerSettings(name="lbfgs", learning_rate=1.0))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_dataloader": range(3)}, "an epoch has 3 batches: set `batch_size`"),
        ({"train_dataloader": iter([])}, "the train dataloader has no length"),
        ({"world_size": 2}, "2 processes train together"),
        ({"accumulate_grad_batches": 4}, "`accumulate_grad_batches` is 4"),
        ({"gradient_clip_val": 0.5}, "`gradient_clip_val` 0.5"),
    ],
)
def test_full_batch_is_required(changed: dict[str, Any], message: str) -> None:
    trainer: Any = {
        "train_dataloader": range(1),
        "world_size": 1,
        "accumulate_grad_batches": 1,
        "gradient_clip_val": None,
    }
    check_full_batch(types.SimpleNamespace(**trainer))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"`optimizer` 'lbfgs' .*{message}"):
        check_full_batch(types.SimpleNamespace(**(trainer | changed)))  # type: ignore[arg-type]

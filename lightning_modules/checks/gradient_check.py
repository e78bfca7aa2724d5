"""Do backpropagated gradients agree with finite differences of the loss?"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from lightning_modules.checks.finding import CannotBeCheckedError, Finding, Verdict
from lightning_modules.checks.training_step import training_loss

GOOD = 1e-4
"""Relative error that kinks (ReLU, max pooling) may cause in float64."""

BAD = 1e-2
"""Relative error that no kink explains."""

_STEPS = (1e-6, 1e-8)
"""Relative sizes of a step; the second one is tried where the first one seems to have crossed kinks."""

_SMALLEST = 1e-6
_N_DIRECTIONS = 3
_MOST_TENSORS = 20


def gradient_check(module: LightningModule, batch: Any, *, seed: int = 0, most_seconds: float = 60.0) -> Finding:
    """Compare gradients with central differences in float64, in random directions of one parameter tensor at a time.

    The module is in eval mode: no dropout, and no image's loss depends on the others. Of each tensor the median of
    three directions counts, so that a kink that one of them crosses does not.

    Args:
        module: Untrained.
        batch: Few samples, on its device.
        seed: Draws directions, and the tensors if there are more than 20.
        most_seconds: Time after which no further tensor is checked; one always is.

    Raises:
        CannotBeCheckedError: If the module cannot be run in float64, or its loss is not the same twice.

    Source:
        CS231n, "Neural Networks Part 3: Learning and Evaluation", section "Gradient checks".
    """
    batch = apply_to_collection(batch, Tensor, lambda each: each.double() if each.is_floating_point() else each)
    try:
        module.double().eval()
        loss, again = (training_loss(module, batch) for _ in range(2))
    except (RuntimeError, TypeError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise CannotBeCheckedError(f"in float64 the step raised {type(error).__name__}: {first_line}") from error
    if loss.dtype != torch.float64:
        raise CannotBeCheckedError(f"the step computes in {loss.dtype} whatever its inputs and weights are")
    value, again_value = float(loss.detach()), float(again.detach())
    if not math.isfinite(value) or value != again_value:
        raise CannotBeCheckedError(f"the loss is not finite and the same twice, but {value:g} and {again_value:g}")
    if not loss.requires_grad:
        raise CannotBeCheckedError("the loss depends on no trainable parameter")
    generator = torch.Generator().manual_seed(seed)
    named = [(name, each) for name, each in module.named_parameters() if each.requires_grad]
    chosen = torch.randperm(len(named), generator=generator)[:_MOST_TENSORS].sort().values.tolist()
    gradients = torch.autograd.grad(loss, [named[index][1] for index in chosen], allow_unused=True)
    errors: dict[str, float] = {}
    deadline = time.monotonic() + most_seconds
    for index, gradient in zip(chosen, gradients, strict=True):
        if errors and time.monotonic() > deadline:
            break
        name, parameter = named[index]
        errors[name] = statistics.median(
            _relative_error(module, batch, parameter, gradient, generator) for _ in range(_N_DIRECTIONS)
        )
    return _finding(errors)


def _relative_error(
    module: LightningModule,
    batch: Any,
    parameter: nn.Parameter,
    gradient: Tensor | None,
    generator: torch.Generator,
) -> float:
    """Relative error of the slope along one random direction; 0 where both slopes are too small to be told from 0."""
    direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.device)
    direction *= (float(parameter.detach().norm()) or 1.0) / direction.norm()
    backward = 0.0 if gradient is None else float((gradient * direction).sum())
    least = math.inf
    for size in _STEPS:
        values = _losses_beside(module, batch, parameter, size * direction)
        difference = (values[0] - values[1]) / (2.0 * size)
        scale = max(abs(backward), abs(difference))
        error = abs(backward - difference) / scale if scale > _SMALLEST * max(1.0, abs(values[0])) else 0.0
        least = min(least, error)
        if least <= GOOD:
            break
    return least


@torch.no_grad()
def _losses_beside(module: LightningModule, batch: Any, parameter: nn.Parameter, offset: Tensor) -> tuple[float, float]:
    """Return the losses with the parameter moved by `offset` and by its opposite; it is moved back."""
    original = parameter.detach().clone()
    try:
        parameter.copy_(original + offset)
        ahead = float(training_loss(module, batch))
        parameter.copy_(original - offset)
        return ahead, float(training_loss(module, batch))
    finally:
        parameter.copy_(original)


def _finding(errors: dict[str, float]) -> Finding:
    worst = max(errors, key=lambda name: errors[name])
    error = errors[worst]
    verdict = Verdict.OK if error <= GOOD else Verdict.WARNING if error <= BAD else Verdict.FAILED
    advice = ""
    if verdict is Verdict.WARNING:
        advice = f"many kinks, or a backward pass that is not exact, before {worst}"
    elif verdict is Verdict.FAILED:
        advice = f"look for `detach`, `.data`, or a backward pass of your own between {worst} and the loss"
    return Finding(
        check="gradient check",
        verdict=verdict,
        seen=f"largest relative error {error:.1e}, of {worst}, among {len(errors)} parameter tensors in float64",
        healthy=f"under {GOOD:g}; over {BAD:g} is no kink (a straight-through estimator is meant to differ)",
        advice=advice,
        figures={"largest_relative_error": error, **{f"relative_error.{name}": each for name, each in errors.items()}},
    )

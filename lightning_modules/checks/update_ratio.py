"""How large the steps of an optimizer are, compared with the weights."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import LightningModule

from lightning_modules.checks.finding import CannotBeCheckedError, Finding, Verdict
from lightning_modules.checks.training_step import learning_rate_of, own_optimizer, step

HEALTHY = (1e-4, 1e-1)
"""A step changes the weights by this share of them: about 1e-3 later on, more in the first steps of a small network."""

_FAR = (1e-6, 1.0)

_ABOUT = 1e-3


def update_ratio(
    module: LightningModule, batches: Sequence[Any], *, declared: tuple[float, float] | None = None, n_steps: int = 10
) -> Finding:
    """Take a few steps with the module's own optimizer and compare updates with weights.

    Args:
        module: Untrained.
        batches: Train batches on its device, at least one; taken in turn.
        declared: The range of learning rates that is searched: then it is asked whether it holds a rate for which the
            ratio, in proportion, is 1e-3. None to judge the optimizer's own rate.
        n_steps: >= 2; the median of the later half counts.

    Raises:
        CannotBeCheckedError: If no weight has two dimensions or more, or all of them are zeros.

    Source:
        CS231n, "Neural Networks Part 3: Learning and Evaluation", section "Ratio of weights:updates".
    """
    weights = [each for each in module.parameters() if each.requires_grad and each.ndim >= 2]
    if not any(bool(each.any()) for each in weights):
        raise CannotBeCheckedError("there is no weight tensor with values other than 0 that is trained")
    module.train()
    optimizer = own_optimizer(module)
    rate = learning_rate_of(optimizer)
    ratios: list[float] = []
    for index, batch in zip(range(n_steps), itertools.cycle(batches), strict=False):
        before = [each.detach().clone() for each in weights]
        step(module, optimizer, batch, seed=index)
        sizes = [
            (float((after.detach() - earlier).norm()), float(earlier.norm()))
            for after, earlier in zip(weights, before, strict=True)
        ]
        if index >= n_steps // 2:
            ratios += [update / size for update, size in sizes if size != 0.0]
    # NaN has no place in an order: one is as bad as all.
    ratio = statistics.median(ratios) if ratios and all(map(math.isfinite, ratios)) else math.nan
    return _finding(ratio, rate=rate, declared=declared)


def _finding(ratio: float, *, rate: float, declared: tuple[float, float] | None) -> Finding:
    verdict, advice = Verdict.OK, ""
    wanted = rate * _ABOUT / ratio if ratio > 0.0 else math.inf
    if not (ratio > 0.0 and math.isfinite(ratio)):
        verdict, advice = Verdict.FAILED, "the weights do not move, or are not finite: see gradient flow"
    elif declared is not None and not declared[0] <= wanted <= declared[1]:
        verdict, advice = Verdict.WARNING, f"let the declared range hold {wanted:.0e}"
    elif declared is None and not HEALTHY[0] <= ratio <= HEALTHY[1]:
        is_far = not _FAR[0] <= ratio <= _FAR[1]
        verdict, advice = Verdict.FAILED if is_far else Verdict.WARNING, f"a learning rate of about {wanted:.0e}"
    at = f"{ratio:.1e} at a learning rate of {rate:.2g}"
    return Finding(
        check="update ratio",
        verdict=verdict,
        seen=at if declared is None else f"{at}; 1e-3 would need about {wanted:.0e}",
        healthy=f"{HEALTHY[0]:g} to {HEALTHY[1]:g} in the first steps (failed beyond {_FAR[0]:g} to {_FAR[1]:g})"
        if declared is None
        else "the declared range holds the rate for 1e-3",
        advice=advice,
        figures={"ratio": ratio, "learning_rate": rate, "learning_rate_for_1e-3": wanted},
    )

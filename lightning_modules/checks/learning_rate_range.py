"""A learning-rate range test: raise the rate with every step and see where the loss falls, and where it breaks out."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import LightningModule

from lightning_modules.checks.finding import CannotBeCheckedError, Finding, Verdict
from lightning_modules.checks.training_step import learning_rate_of, own_optimizer, set_learning_rate, step

_BLOW_UP = 3.0
_LEAST_FALL = 0.05
_BEGINS = 0.1
_LEAST_STEPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeTest:
    """The rates of a range test and the smoothed losses at them.

    Attributes:
        rates: Ascending.
        losses: As many, finite, each the mean over one turn of the batches about that rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def fall(self) -> float:
        """Share of the first loss by which it fell at the most."""
        return (self.losses[0] - min(self.losses)) / abs(self.losses[0]) if self.losses[0] else 0.0

    def proposal(self) -> tuple[float, float]:
        """Return where a search may begin: from the rate at which the loss begins to fall to that of the lowest loss.

        A decade wide at the least.
        """
        lowest = min(self.losses)
        begins = self.losses[0] - _BEGINS * (self.losses[0] - lowest)
        low = next(rate for rate, loss in zip(self.rates, self.losses, strict=True) if loss <= begins)
        high = self.rates[self.losses.index(lowest)]
        return _rounded(min(low, high / 10.0)), _rounded(high)


def range_test(
    module: LightningModule,
    batches: Sequence[Any],
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    n_steps: int = 100,
    most_seconds: float = 60.0,
) -> RangeTest:
    """Train with a rate that grows by the same factor with every step, until the loss blows up.

    Args:
        module: Untrained; its own optimizer is used.
        batches: Train batches on its device, one to ten; taken in turn.
        lowest: First rate, > 0.
        highest: Last rate, > `lowest`.
        n_steps: Steps from one to the other, >= 10.
        most_seconds: Time that it may take.

    Raises:
        CannotBeCheckedError: If time is up before the loss has broken out or the last rate is reached, or it is not
            finite in the first steps.

    Source:
        Smith 2017, "Cyclical Learning Rates for Training Neural Networks" (arXiv 1506.01186), section 3.3.
    """
    deadline = time.monotonic() + most_seconds
    module.train()
    optimizer = own_optimizer(module)
    n_turn = len(batches)
    rates: list[float] = []
    raw: list[float] = []
    losses: list[float] = []
    for index, batch in zip(range(n_steps), itertools.cycle(batches), strict=False):
        rates.append(lowest * (highest / lowest) ** (index / (n_steps - 1)))
        set_learning_rate(optimizer, rates[-1])
        raw.append(step(module, optimizer, batch, seed=index))
        # The mean over one turn of the batches: that one of them is harder than another changes nothing.
        mean = sum(raw[-n_turn:]) / n_turn
        if not math.isfinite(raw[-1]) or (losses and mean > _BLOW_UP * min(losses) + losses[0]):
            break
        if len(raw) >= n_turn:
            losses.append(mean)
        if time.monotonic() > deadline:
            raise CannotBeCheckedError(f"time was up at a rate of {rates[-1]:.1g}, after {index + 1} steps")
    if len(losses) < _LEAST_STEPS:
        raise CannotBeCheckedError(f"the loss is not finite, or grows threefold, in the first {len(raw)} steps")
    return RangeTest(rates=tuple(rates[n_turn // 2 :][: len(losses)]), losses=tuple(losses))


def learning_rate_range(
    module: LightningModule,
    batches: Sequence[Any],
    *,
    declared: tuple[float, float] | None = None,
    most_seconds: float = 60.0,
) -> Finding:
    """Propose a coarse range for the learning rate, and compare it with what is declared.

    Args:
        module: Untrained.
        batches: See `range_test`.
        declared: The range that is searched, or None if the optimizer's own rate is to be judged.
        most_seconds: See `range_test`.

    Raises:
        CannotBeCheckedError: See `range_test`.
    """
    own = learning_rate_of(own_optimizer(module))
    test = range_test(module, batches, most_seconds=most_seconds)
    low, high = test.proposal()
    what = f"the rate {own:.2g}" if declared is None else f"declared {declared[0]:g} to {declared[1]:g}"
    figures = {"low": low, "high": high, "fall": test.fall}
    healthy = "the loss falls, and the rates at which it falls are in the declared range"
    if not test.fall > _LEAST_FALL:
        return Finding(
            check="learning-rate range",
            verdict=Verdict.WARNING,
            seen=f"between {test.rates[0]:.0e} and {test.rates[-1]:.2g} the loss fell by {max(test.fall, 0.0):.1%}",
            healthy=healthy,
            advice="nothing is learned in a hundred steps at any rate: see the other checks",
            figures=figures,
        )
    searched = (own, own) if declared is None else declared
    inside = math.log10(min(high, searched[1]) / max(low, searched[0])) if searched[1] >= low else -math.inf
    covered = inside / math.log10(high / low)
    is_ok = inside >= 0.0 if declared is None else covered >= 0.5
    outside = inside < 0.0 and declared is not None
    verdict = Verdict.OK if is_ok else Verdict.FAILED if outside else Verdict.WARNING
    return Finding(
        check="learning-rate range",
        verdict=verdict,
        seen=f"the loss falls from {low:g} on and is lowest at {high:g}: a range to begin with; {what}",
        healthy=healthy,
        advice="" if is_ok else f"search {low:g} to {high:g}",
        figures=figures,
    )


def _rounded(rate: float) -> float:
    return float(f"{rate:.0e}")

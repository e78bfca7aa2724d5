"""A bound that trials must keep, and by how much one misses it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from lightning_modules.callbacks.metric_names import GAP_PREFIX
from search.errors import StudyDefinitionError

UNMEASURED = 1.0
"""Excess of a value that was not measured, or is not finite: as much as a bound missed by its own size."""

_MOST = 1e9  # keeps sums of excesses finite
_ROUNDING = 2.0**-22  # of a number of that size: four times what a float32 may be off


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """What a measured value must be, so that its trial may win.

    Attributes:
        metric: What is bounded: a metric of the epochs, ``n_parameters`` or ``epoch_seconds``.
        at_most: Upper bound, inclusive, in the metric's own unit; None for none.
        at_least: Lower bound, likewise.

    Raises:
        StudyDefinitionError: Without a bound, with one that is not finite, or with a lower one above the upper one.
    """

    metric: str
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if not bounds or not all(map(math.isfinite, bounds)) or sorted(bounds) != bounds:
            raise StudyDefinitionError(
                f"`at_least <= at_most` must hold for at least one finite bound, but got {self!r}.", key="constraints"
            )

    @property
    def text(self) -> str:
        """``gap_acc <= 0.05``; its name in Optuna."""
        low = "" if self.at_least is None else f"{self.at_least:.12g} <= "
        high = "" if self.at_most is None else f" <= {self.at_most:.12g}"
        return f"{low}{self.metric}{high}" if high else f"{self.metric} >= {self.at_least:.12g}"

    def excess(self, value: float) -> float:
        """Return by how much a value misses the bound, as a share of the bound (of 1 if that is 0).

        Shares make excesses of different metrics comparable: 0.01 of a gap and 10,000 parameters.

        Args:
            value: What was measured; NaN if it was not.

        Returns:
            A finite number, <= 0 exactly if the bound is kept. What misses it by no more than its rounding keeps it:
            metrics are float32, in which 70 % are 0.699999988, and a gap is the difference of two of them.
        """
        if not math.isfinite(value):
            return UNMEASURED
        above = -math.inf if self.at_most is None else self._share(value - self.at_most, self.at_most)
        below = -math.inf if self.at_least is None else self._share(self.at_least - value, self.at_least)
        return min(max(above, below, -_MOST), _MOST)

    def _share(self, missed: float, bound: float) -> float:
        """Return by how much a bound is missed as a share of it; 0 if that is no more than rounding."""
        size = max(1.0, abs(bound)) if self.metric.startswith(GAP_PREFIX) else abs(bound)
        return 0.0 if 0.0 < missed <= _ROUNDING * size else missed / (abs(bound) or 1.0)


def violation(excesses: Iterable[float]) -> float:
    """Return the total violation, >= 0: the sum of what bounds are missed by; 0 exactly if all of them are kept."""
    return sum(max(0.0, excess) for excess in excesses)

"""Arithmetic of a range on its own scale: where a new interval may lie, and how it becomes a range again."""

from __future__ import annotations

import math
from dataclasses import dataclass

from search.search_space import (
    Choices,
    Dimension,
    IntLogRange,
    IntRange,
    LinearRange,
    LogRange,
    NumericRange,
    OneMinusLogRange,
)

_SAME = 1e-9  # share of the current width that rounding may take; limits may be wider by any factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A closed interval of positions on a dimension's scale, ``low < high``."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """Length on the scale."""
        return self.high - self.low

    def clipped(self, outer: Interval) -> Interval:
        """Return what lies inside `outer`."""
        return Interval(low=max(self.low, outer.low), high=min(self.high, outer.high))

    def padded(self, by: float) -> Interval:
        """Return it with `by` added at both ends."""
        return Interval(low=self.low - by, high=self.high + by)

    def widened(self, width: float, *, within: Interval) -> Interval:
        """Return it with at least `width`, about the same centre if `within` has the room, else moved."""
        missing = width - self.width
        if not missing > 0.0:
            return self
        low = min(max(self.low - missing / 2.0, within.low), within.high - width)
        return Interval(low=max(low, within.low), high=min(max(low, within.low) + width, within.high))


def interval_of(range_: NumericRange) -> Interval:
    """Return the range's bounds as positions."""
    return Interval(low=range_.scale(range_.low), high=range_.scale(range_.high))


def range_from(
    interval: Interval, dimension: Dimension
) -> LogRange | LinearRange | OneMinusLogRange | IntRange | IntLogRange:
    """Return the interval as a range of the dimension's kind, within its limits; integers are rounded outwards.

    Ends that are those of the current range or of the limits become exactly those.
    """
    current, limits = dimension.range, dimension.limits
    assert not isinstance(current, Choices)
    assert not isinstance(limits, Choices)
    known = [(current.scale(bound), bound) for bound in (current.low, current.high, limits.low, limits.high)]
    tolerance = _SAME * interval_of(current).width
    low, high = (_value(position, current, known, tolerance) for position in (interval.low, interval.high))
    if isinstance(current, IntRange | IntLogRange):
        low, high = math.floor(low), math.ceil(high)
        if low == high:  # a range holds at least two integers
            high = high + 1 if high < current.high else high
            low = low - 1 if low == high else low
    return current.with_bounds(max(low, limits.low), min(high, limits.high))


def _value(position: float, range_: NumericRange, known: list[tuple[float, float]], tolerance: float) -> float:
    for known_position, bound in known:
        if abs(position - known_position) <= tolerance:
            return bound
    value = range_.unscale(position)
    nearest = round(value)  # an integer's position does not map back to it exactly
    return nearest if math.isclose(value, nearest, rel_tol=1e-9) and isinstance(range_.low, int) else value

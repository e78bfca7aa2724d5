"""The declared ranges beside a stage's own: what a model of the whole space knows, and where it may propose."""

from __future__ import annotations

from dataclasses import replace

from search.samplers.region import Intervals
from search.search_space import Choices, Dimension, SearchSpace, Value

_ROUNDING = 1e-9  # coordinates on the end of a cell may belong to the next one


def joined(declared: SearchSpace, box: SearchSpace) -> SearchSpace:
    """Return the least ranges that hold both; of choices, those that were declared."""
    return SearchSpace(dimensions=tuple(_joined(each, box[each.name]) for each in declared))


def _joined(declared: Dimension, current: Dimension) -> Dimension:
    range_ = declared.range
    if not isinstance(range_, Choices):
        assert not isinstance(current.range, Choices)
        range_ = range_.with_bounds(min(range_.low, current.range.low), max(range_.high, current.range.high))
    return replace(declared, range=range_)


def intervals(box: SearchSpace, whole: SearchSpace) -> dict[str, Intervals]:
    """Return which coordinates lie in the box, of those dimensions that are narrower there.

    Args:
        box: The current ranges.
        whole: The ranges that coordinates are relative to.
    """
    return {
        each.name: _intervals(each, whole[each.name])
        for each in box
        if (each.range, each.zero_share) != (whole[each.name].range, whole[each.name].zero_share)
    }


def _intervals(current: Dimension, whole: Dimension) -> Intervals:
    if isinstance(current.range, Choices):
        assert isinstance(whole.range, Choices)
        n = len(whole.range.values)
        indices = (index for index, value in enumerate(whole.range.values) if value in current.range.values)
        return tuple((index / n + _ROUNDING, (index + 1) / n - _ROUNDING) for index in indices)
    half, rounding = (0.5, _ROUNDING) if current.is_integer else (0.0, 0.0)  # an integer's cell ends half a step off
    low, high = current.range.low - half, current.range.high + half
    numbers = (whole.unit_beside_zero(low) + rounding, whole.unit_beside_zero(high) - rounding)
    zero = ((0.0, whole.zero_share - _ROUNDING),)
    return (*(zero if current.zero_share > 0.0 else ()), numbers)


def moved_inside(current: Dimension, value: Value) -> Value:
    """Return a number that rounding may have left outside the current range, moved inside."""
    if isinstance(current.range, Choices) or isinstance(value, str) or current.contains(value):
        return value
    bounded: Value = min(max(value, current.range.low), current.range.high)
    return bounded

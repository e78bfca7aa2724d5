"""The declared ranges beside a stage's own: what a model of the whole space knows, and where it may propose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from optuna.distributions import BaseDistribution, IntDistribution

from search.samplers.coordinates import UnitCoordinates
from search.samplers.region import Intervals
from search.search_space import Choices, Dimension, SearchSpace, Value

_INSIDE = 0.25  # of a cell, from its ends: coordinates on an end may belong to the next one


@lru_cache(maxsize=8)
def joined(declared: SearchSpace, box: SearchSpace) -> SearchSpace:
    """Return the least ranges that hold both; of choices, those that were declared."""
    whole = SearchSpace(dimensions=tuple(_joined(each, box[each.name]) for each in declared))
    return box if whole == box else whole


def _joined(declared: Dimension, current: Dimension) -> Dimension:
    range_ = declared.range
    if not isinstance(range_, Choices):
        assert not isinstance(current.range, Choices)
        range_ = range_.with_bounds(min(range_.low, current.range.low), max(range_.high, current.range.high))
    return replace(declared, range=range_)


def intervals(
    box: SearchSpace, whole: SearchSpace, distributions: Mapping[str, BaseDistribution]
) -> dict[str, Intervals]:
    """Return which coordinates lie in the box, of those dimensions that are narrower there.

    Args:
        box: The current ranges.
        whole: The ranges that coordinates are relative to.
        distributions: As which the model sees these, by name.
    """
    return {
        each.name: _intervals(each, whole[each.name], distributions[each.name])
        for each in box
        if (each.range, each.zero_share) != (whole[each.name].range, whole[each.name].zero_share)
    }


def _intervals(current: Dimension, whole: Dimension, distribution: BaseDistribution) -> Intervals:
    if isinstance(current.range, Choices):
        assert isinstance(whole.range, Choices)
        n = len(whole.range.values)
        indices = (index for index, value in enumerate(whole.range.values) if value in current.range.values)
        return tuple(((index + _INSIDE) / n, (index + 1 - _INSIDE) / n) for index in indices)
    ends: list[Value] = [current.range.low, current.range.high]
    if isinstance(distribution, IntDistribution):
        units, _ = UnitCoordinates({current.name: distribution}).encode([{current.name: end} for end in ends])
        low, high = units[:, 0].tolist()
    else:
        low, high = (whole.to_unit(end) for end in ends)
    zero = ((_INSIDE * whole.zero_share, (1.0 - _INSIDE) * whole.zero_share),)
    return (*(zero if current.zero_share > 0.0 else ()), (low, high))


def within(current: Dimension, value: Value) -> Value:
    """Return a number that rounding may have moved out of the current range, inside it."""
    if isinstance(current.range, Choices) or isinstance(value, str) or current.contains(value):
        return value
    bounded: Value = min(max(value, current.range.low), current.range.high)
    return bounded

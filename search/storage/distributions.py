"""Dimensions as Optuna records them."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.search_space import Choices, Dimension, IntLogRange, LogRange, SearchSpace


def distribution(dimension: Dimension) -> BaseDistribution:
    """Return the Optuna distribution over the dimension's hard limits, under which every trial is recorded.

    A dimension with an extra zero is linear and reaches to 0, since Optuna's log scale has none.
    """
    limits = dimension.limits
    if isinstance(limits, Choices):
        return CategoricalDistribution(limits.values)
    has_zero = dimension.zero_share > 0.0
    if dimension.is_integer:
        first, last = int(limits.low), int(limits.high)
        if has_zero:
            return IntDistribution(min(0, first), max(0, last))
        return IntDistribution(first, last, log=isinstance(limits, IntLogRange))
    low, high = (min(0.0, limits.low), max(0.0, limits.high)) if has_zero else (limits.low, limits.high)
    return FloatDistribution(low, high, log=isinstance(limits, LogRange) and not has_zero)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return the recorded distribution of every dimension."""
    return {dimension.name: distribution(dimension) for dimension in space}

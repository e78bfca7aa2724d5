"""The `quantile_box` rule: a guarded box round the best quarter of the trials, one dimension at a time.

Numeric dimensions, on their own scales: the 5 to 95 % quantiles of the best quarter, padded by 15 % on each side, but
never less than half of the current width, and only if best and other trials lie differently (Kolmogorov-Smirnov,
p < 0.2). Where the best trials crowd at an edge, the edge moves out, as far as the hard limits let it. Choices are
dropped only when they are worse beyond doubt. Conditional dimensions are judged on the trials in which they were
active, `or_zero` ranges on those that were not zero. Diverged trials count as the worst; failed ones are not there.

The padding and the minimum width are the guard: without them the box loses the optimum about half of the time in noisy
searches of some 60 trials.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.comparable_rewards import Observation
from search.narrowing.choices import without_worse, without_worse_zero
from search.narrowing.decisions import Pair, kept, put_together
from search.narrowing.edges import crowding
from search.narrowing.evidence import Positions, active, is_zero, positions_of, too_equal, too_few
from search.narrowing.guard import guarded
from search.narrowing.interval import Interval, interval_of
from search.narrowing.request import NarrowingRequest
from search.range_text import number_text
from search.search_space import Choices, Dimension
from search.study_definition import Direction
from search.study_record import NarrowedSpace

MATTERS_BELOW = 0.2
QUANTILES = (0.05, 0.95)


def quantile_box(request: NarrowingRequest) -> NarrowedSpace:
    """Apply the rule to every dimension of the current ranges, on the observations that lie inside them."""
    inside = request.inside
    return put_together([_narrow_one(dimension, inside, request.direction) for dimension in request.space])


def _narrow_one(dimension: Dimension, inside: Sequence[Observation], direction: Direction) -> Pair:
    trials = active(inside, dimension.name)
    reason = too_few(trials, what="have it active" if dimension.conditions else "lie in the current ranges")
    if reason:
        return kept(dimension, reason)
    if isinstance(dimension.range, Choices):
        return without_worse(dimension, trials, direction)
    return _numeric(dimension, trials, direction)


def _numeric(dimension: Dimension, trials: Sequence[Observation], direction: Direction) -> Pair:
    numeric = [each for each in trials if not is_zero(each.hyperparameters[dimension.name], dimension)]
    return without_worse_zero(_narrow_range(dimension, numeric), dimension, trials, direction)


def _narrow_range(dimension: Dimension, numeric: Sequence[Observation]) -> Pair:
    """Narrow a numeric range on trials (best first) that have a position on it."""
    reason = too_few(numeric, what="are not zero")
    if reason:
        return kept(dimension, reason)
    reason = too_equal(numeric)
    if reason:
        return kept(dimension, reason)
    positions = positions_of(numeric, dimension)
    count, p_value = len(positions.best), positions.p_value()
    figures = {"p_value": p_value, "n_best": float(count), "n_trials": float(len(numeric))}
    if not p_value < MATTERS_BELOW:
        reason = f"no evidence that it matters: best {count} of {len(numeric)} lie like the rest (KS p = {p_value:.2g})"
        return kept(dimension, reason, figures)
    return _boxed(dimension, positions, figures)


def _boxed(dimension: Dimension, positions: Positions, figures: dict[str, float]) -> Pair:
    assert not isinstance(dimension.range, Choices)
    current = interval_of(dimension.range)
    low, high = (float(end) for end in np.quantile(positions.best, QUANTILES))
    ends = [number_text(dimension.range.unscale(end), dimension.range) for end in (low, high)]
    why = (
        f"best {figures['n_best']:.0f} of {figures['n_trials']:.0f} lie in [{ends[0]}, {ends[1]}] "
        f"(KS p = {figures['p_value']:.2g})"
    )
    crowded = crowding(positions, current)
    return guarded(dimension, Interval(low=low, high=high), crowded, within=current, why=why, figures=figures)

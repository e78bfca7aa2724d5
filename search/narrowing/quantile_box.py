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
from dataclasses import dataclass, replace

import numpy as np

from search.comparable_rewards import Observation
from search.narrowing.choices import worse_choices
from search.narrowing.evidence import MIN_BEST, Positions, n_best, ranked
from search.narrowing.interval import Interval, interval_of, range_from
from search.range_text import number_text, range_text
from search.search_space import Choices, Dimension, SearchSpace, Value
from search.study_definition import Direction
from search.study_record import NarrowedSpace, RangeChange, RangeDecision

MIN_TRIALS = 12
MATTERS_BELOW = 0.2
QUANTILES = (0.05, 0.95)
PADDING_SHARE = 0.15
MIN_WIDTH_SHARE = 0.5
EDGE_STRIP_SHARE = 0.15
CROWDED_BELOW = 0.05
OUTWARD_SHARE = 0.25
NEGLIGIBLE_SHARE = 0.02  # a smaller change of width is none


def quantile_box(observations: Sequence[Observation], space: SearchSpace, direction: Direction) -> NarrowedSpace:
    """Apply the rule to every dimension of `space`, on the observations that lie inside it."""
    inside = ranked([each for each in observations if space.contains(each.hyperparameters)], direction)
    pairs = [_narrow_one(dimension, inside, direction) for dimension in space]
    return NarrowedSpace(
        space=SearchSpace(dimensions=tuple(dimension for dimension, _ in pairs)),
        decisions=tuple(decision for _, decision in pairs),
    )


def _narrow_one(
    dimension: Dimension, inside: Sequence[Observation], direction: Direction
) -> tuple[Dimension, RangeDecision]:
    active = [each for each in inside if dimension.name in each.hyperparameters]
    n_fit = sum(each.may_be_best for each in active)
    if len(active) < MIN_TRIALS:
        used = "have it active" if dimension.conditions else "lie in the current ranges"
        return _kept(dimension, f"only {len(active)} finished trials {used}; {MIN_TRIALS} are needed")
    if n_fit < MIN_BEST:
        fit = "keep the constraints" if any(each.excesses for each in active) else "did not diverge"
        return _kept(dimension, f"only {n_fit} of {len(active)} trials {fit}; {MIN_BEST} are needed")
    if isinstance(dimension.range, Choices):
        return _without_worse_choices(dimension, dimension.range, active, direction)
    return _numeric(dimension, active, direction)


def _without_worse_choices(
    dimension: Dimension, choices: Choices, active: Sequence[Observation], direction: Direction
) -> tuple[Dimension, RangeDecision]:
    labels = {each.number: each.hyperparameters[dimension.name] for each in active}
    verdict = worse_choices(active, labels, choices.values, direction)
    left = tuple(value for value in choices.values if value not in verdict.labels)
    after = replace(dimension, range=Choices(values=left))
    change = RangeChange.CHOICES_DROPPED if verdict.labels else RangeChange.KEPT
    return after, _decision(dimension, after, change, verdict.reason, dict(verdict.figures))


def _numeric(
    dimension: Dimension, active: Sequence[Observation], direction: Direction
) -> tuple[Dimension, RangeDecision]:
    zeros = {each.number: _is_zero(each.hyperparameters[dimension.name], dimension) for each in active}
    numeric, decision = _narrow_range(dimension, [each for each in active if not zeros[each.number]])
    if dimension.zero_share == 0.0:
        return numeric, decision
    labels: dict[int, Value] = {number: "zero" if zero else "not zero" for number, zero in zeros.items()}
    verdict = worse_choices(active, labels, ("zero", "not zero"), direction)
    if "zero" not in verdict.labels:
        return numeric, decision
    after = replace(numeric, zero_share=0.0)
    change = RangeChange.CHOICES_DROPPED if decision.change is RangeChange.KEPT else decision.change
    reason = f"{decision.reason}; zero dropped, {verdict.reason}"
    figures = {**decision.figures, **verdict.figures}
    return after, _decision(dimension, after, change, reason, figures, cut_off=decision.cut_off)


def _is_zero(value: Value, dimension: Dimension) -> bool:
    return dimension.zero_share > 0.0 and value == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crowding:
    """Edges at which the best trials crowd: -1 the lower, +1 the upper, 0 neither."""

    side: int
    n_best: int
    p_value: float


def _narrow_range(dimension: Dimension, numeric: Sequence[Observation]) -> tuple[Dimension, RangeDecision]:
    """Narrow a numeric range on trials (best first) that have a position on it."""
    count = n_best(numeric)
    if len(numeric) < MIN_TRIALS or count < MIN_BEST:
        if len(numeric) >= MIN_TRIALS and any(each.excesses for each in numeric):
            return _kept(
                dimension, f"only {count} trials that are not zero keep the constraints; {MIN_BEST} are needed"
            )
        return _kept(dimension, f"only {len(numeric)} finished trials are not zero; {MIN_TRIALS} are needed")
    where = [_position(each.hyperparameters[dimension.name], dimension) for each in numeric]
    n_finite = sum(not each.diverged for each in numeric)
    positions = Positions(
        best=tuple(where[:count]), rest=tuple(where[count:n_finite]), diverged=tuple(where[n_finite:])
    )
    p_value = positions.p_value()
    figures = {"p_value": p_value, "n_best": float(count), "n_trials": float(len(numeric))}
    if not p_value < MATTERS_BELOW:
        reason = f"no evidence that it matters: best {count} of {len(numeric)} lie like the rest (KS p = {p_value:.2g})"
        return _kept(dimension, reason, figures)
    return _boxed(dimension, positions, figures)


def _boxed(dimension: Dimension, positions: Positions, figures: dict[str, float]) -> tuple[Dimension, RangeDecision]:
    assert not isinstance(dimension.range, Choices)
    assert not isinstance(dimension.limits, Choices)
    current, limits = interval_of(dimension.range), interval_of(dimension.limits)
    low, high = (float(end) for end in np.quantile(positions.best, QUANTILES))
    good = Interval(low=low, high=high)
    crowding = _crowding(positions, current)
    box = good.padded(PADDING_SHARE * good.width).clipped(current)
    moved = _moved_out(box, crowding.side, current, limits)
    reach = Interval(low=min(current.low, moved.low), high=max(current.high, moved.high))
    guarded = moved.widened(MIN_WIDTH_SHARE * current.width, within=reach)
    after = replace(dimension, range=range_from(guarded, dimension))
    change = _change(dimension, after)
    if change is RangeChange.KEPT:
        after = dimension
    at_limit = (crowding.side < 0 and dimension.range.low == dimension.limits.low) or (
        crowding.side > 0 and dimension.range.high == dimension.limits.high
    )
    assert not isinstance(after.range, Choices)
    figures["width_share"] = interval_of(after.range).width / current.width
    if crowding.side:
        figures |= {"n_at_edge": float(crowding.n_best), "edge_p_value": crowding.p_value}
    reason = _reason(dimension, good, figures, guarded=guarded.width > moved.width, change=change)
    reason += _edge_reason(crowding, dimension, at_limit=at_limit)
    return after, _decision(dimension, after, change, reason, figures, cut_off=at_limit)


def _crowding(positions: Positions, current: Interval) -> _Crowding:
    """Find the edge at which more of the best trials lie than chance explains; none if both are crowded."""
    strip = EDGE_STRIP_SHARE * current.width
    lower = positions.edge_p_value((current.low, current.low + strip))
    upper = positions.edge_p_value((current.high - strip, current.high))
    if (lower[1] < CROWDED_BELOW) == (upper[1] < CROWDED_BELOW):
        return _Crowding(side=0, n_best=0, p_value=1.0)
    side, (count, p_value) = (-1, lower) if lower[1] < CROWDED_BELOW else (1, upper)
    return _Crowding(side=side, n_best=count, p_value=p_value)


def _moved_out(box: Interval, side: int, current: Interval, limits: Interval) -> Interval:
    step = OUTWARD_SHARE * current.width
    if side < 0:
        return Interval(low=max(current.low - step, limits.low), high=box.high)
    if side > 0:
        return Interval(low=box.low, high=min(current.high + step, limits.high))
    return box


def _position(value: Value, dimension: Dimension) -> float:
    assert not isinstance(dimension.range, Choices)
    assert not isinstance(value, str)
    return dimension.range.scale(value)


def _change(before: Dimension, after: Dimension) -> RangeChange:
    assert not isinstance(before.range, Choices)
    assert not isinstance(after.range, Choices)
    old, new = interval_of(before.range), interval_of(after.range)
    out = max(old.low - new.low, new.high - old.high)
    inward = max(new.low - old.low, old.high - new.high)
    negligible = NEGLIGIBLE_SHARE * old.width
    if out > 0.0:
        return RangeChange.SHIFTED if inward > negligible else RangeChange.EXTENDED
    return RangeChange.NARROWED if inward > negligible else RangeChange.KEPT


def _reason(
    dimension: Dimension, good: Interval, figures: dict[str, float], *, guarded: bool, change: RangeChange
) -> str:
    assert not isinstance(dimension.range, Choices)
    low, high = (number_text(dimension.range.unscale(end), dimension.range) for end in (good.low, good.high))
    text = (
        f"best {figures['n_best']:.0f} of {figures['n_trials']:.0f} lie in [{low}, {high}] "
        f"(KS p = {figures['p_value']:.2g})"
    )
    if change is RangeChange.KEPT:
        return f"{text}, which is about all of the range"
    text += f"; padded by {PADDING_SHARE:.0%}".replace("%", " %")
    return f"{text} and held at half of the width" if guarded else text


def _edge_reason(crowding: _Crowding, dimension: Dimension, *, at_limit: bool) -> str:
    if not crowding.side:
        return ""
    assert not isinstance(dimension.limits, Choices)
    edge = "lower" if crowding.side < 0 else "upper"
    bound = dimension.limits.low if crowding.side < 0 else dimension.limits.high
    end = f"but the hard limit {number_text(bound, dimension.limits)} forbids more" if at_limit else "so it moves out"
    return f"; {crowding.n_best} of them crowd at the {edge} edge (p = {crowding.p_value:.2g}), {end}"


def _kept(
    dimension: Dimension, reason: str, figures: dict[str, float] | None = None
) -> tuple[Dimension, RangeDecision]:
    return dimension, _decision(dimension, dimension, RangeChange.KEPT, reason, figures or {})


def _decision(
    before: Dimension,
    after: Dimension,
    change: RangeChange,
    reason: str,
    figures: dict[str, float],
    *,
    cut_off: bool = False,
) -> RangeDecision:
    return RangeDecision(
        name=before.name,
        change=change,
        before=range_text(before),
        after=range_text(after),
        reason=reason,
        figures=figures,
        cut_off=cut_off,
    )

"""Reaching out to good trials outside the ranges, so that what was cut off by mistake comes back.

A rule looks at the trials inside the current ranges; those of earlier stages outside them were judged when they were
drawn. Trials that were sampled outside *since*, on purpose, are new evidence: where one is among the best quarter of
all these trials together, the new ranges are extended until they contain it, in every dimension, with the padding that
a box has. The stage after that can then narrow to where they are. What is extended ends at the declared ranges, or at
the hard limits where the trial itself, one that a warm start asked for, lies beyond the declared ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search.comparable_rewards import Observation
from search.narrowing.decisions import choices_change, put_together
from search.narrowing.evidence import MIN_TRIALS, n_best, ranked
from search.narrowing.guard import PADDING_SHARE
from search.narrowing.interval import Interval, interval_of, range_from
from search.range_text import range_text
from search.search_space import Choices, Dimension, SearchSpace, Value
from search.study_definition import Direction
from search.study_record import NarrowedSpace, RangeChange, RangeDecision


def reaching_out(
    narrowed: NarrowedSpace,
    observations: Sequence[Observation],
    *,
    before: SearchSpace,
    study_space: SearchSpace,
    direction: Direction,
) -> NarrowedSpace:
    """Return the ranges extended to the trials outside that are among the best, with that in the reasons.

    Args:
        narrowed: What a rule made of the trials inside.
        observations: Finished trials of all stages so far, in any order.
        before: The ranges that were current for the rule.
        study_space: The ranges as declared: nothing is extended beyond them, but to contain a trial beyond them.
        direction: Whether more reward is better.
    """
    considered = [each for each in observations if each.is_outside or before.contains(each.hyperparameters)]
    if len(considered) < MIN_TRIALS:
        return narrowed
    best = ranked(considered, direction)[: n_best(considered)]
    outside = [each for each in best if not before.contains(each.hyperparameters)]
    found = {"n_considered": float(len(considered)), "n_considered_best": float(len(best))}
    pairs = []
    for dimension, decision in zip(narrowed.space, narrowed.decisions, strict=True):
        name = dimension.name
        after, numbers = _reach(
            dimension, [each for each in outside if name in each.hyperparameters], study_space[name]
        )
        why = decision if after == dimension else _decision(before[name], after, decision, numbers, found)
        pairs.append((after, why))
    return put_together(pairs)


def _reach(dimension: Dimension, outside: Sequence[Observation], declared: Dimension) -> tuple[Dimension, list[int]]:
    """Return the dimension with a range that contains the trials, and the numbers of those that it did not contain."""
    missing = [each for each in outside if not dimension.contains(each.hyperparameters[dimension.name])]
    if not missing:
        return dimension, []
    values = [each.hyperparameters[dimension.name] for each in missing]
    numbers = sorted(each.number for each in missing)
    if isinstance(dimension.range, Choices):
        assert isinstance(dimension.limits, Choices)
        chosen = tuple(value for value in dimension.limits.values if value in (*dimension.range.values, *values))
        return replace(dimension, range=Choices(values=chosen)), numbers
    return _extended(dimension, declared, values), numbers


def _extended(dimension: Dimension, declared: Dimension, values: Sequence[Value]) -> Dimension:
    assert not isinstance(dimension.range, Choices)
    assert not isinstance(declared.range, Choices)
    zeros = [value for value in values if value == 0 and declared.zero_share > 0.0]
    after = replace(dimension, zero_share=declared.zero_share) if zeros else dimension
    positions = [
        dimension.range.scale(value) for value in values if not after.contains(value) and not isinstance(value, str)
    ]
    if not positions:
        return after
    current = interval_of(dimension.range)
    hull = Interval(low=min(current.low, *positions), high=max(current.high, *positions))
    padded, outer = hull.padded(PADDING_SHARE * hull.width), _outermost(dimension, declared, hull)
    reach = Interval(
        low=max(padded.low, outer.low) if hull.low < current.low else current.low,
        high=min(padded.high, outer.high) if hull.high > current.high else current.high,
    )
    found = range_from(reach, declared)
    return replace(
        after,
        range=dimension.range.with_bounds(
            found.low if hull.low < current.low else dimension.range.low,
            found.high if hull.high > current.high else dimension.range.high,
        ),
    )


def _outermost(dimension: Dimension, declared: Dimension, hull: Interval) -> Interval:
    """Return how far each end may be extended: as declared, or to the hard limit if that does not hold the trials."""
    assert not isinstance(dimension.range, Choices)
    assert not isinstance(declared.range, Choices)
    assert not isinstance(declared.limits, Choices)
    current, first, limits = (interval_of(each) for each in (dimension.range, declared.range, declared.limits))
    low, high = min(first.low, current.low), max(first.high, current.high)
    return Interval(low=low if hull.low >= low else limits.low, high=high if hull.high <= high else limits.high)


def _decision(
    before: Dimension, after: Dimension, decision: RangeDecision, numbers: Sequence[int], found: dict[str, float]
) -> RangeDecision:
    trials = f"trial {numbers[0]}" if len(numbers) == 1 else f"trials {', '.join(map(str, numbers))}"
    return replace(
        decision,
        change=_change(before, after),
        after=range_text(after),
        reason=f"{decision.reason}; {trials}, sampled outside, {'is' if len(numbers) == 1 else 'are'} among the best "
        f"{found['n_considered_best']:.0f} of {found['n_considered']:.0f}, so it reaches out to {range_text(after)}",
        figures={**decision.figures, **found, "n_outside_best": float(len(numbers))},
    )


def _change(before: Dimension, after: Dimension) -> RangeChange:
    if isinstance(before.range, Choices) or isinstance(after.range, Choices):
        assert isinstance(before.range, Choices)
        assert isinstance(after.range, Choices)
        return choices_change(before.range, after.range)
    gains = after.range.low < before.range.low or after.range.high > before.range.high
    loses = after.range.low > before.range.low or after.range.high < before.range.high
    if gains or after.zero_share > before.zero_share:
        return RangeChange.SHIFTED if loses else RangeChange.EXTENDED
    return RangeChange.NARROWED if loses else RangeChange.KEPT

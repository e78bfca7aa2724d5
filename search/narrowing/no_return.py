"""Where no optimum is looked for: what was cut off, or dropped, and holds only trials that failed.

A stage has no trials beyond its ranges, so that a model which tells stages apart may put down what failed there to the
stage, and a box that grows may grow there. So what lies beyond a current range is open again as far as the furthest of
its trials that may be best, and all of it if none failed further out; a dropped choice, or zero, is if one of its
trials may be best. What no trial ever saw is open, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from search.comparable_rewards import Observation
from search.narrowing.evidence import active, failure_words, is_zero
from search.narrowing.interval import Interval, interval_of
from search.range_text import number_text
from search.search_space import Choices, Dimension


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Where the optimum of one dimension is looked for.

    Attributes:
        dimension: With the range (and the zero) that is open, which holds the current one.
        below: Trials below that range; all of them failed.
        above: Those above it, likewise.
    """

    dimension: Dimension
    below: tuple[Observation, ...] = ()
    above: tuple[Observation, ...] = ()

    def words(self) -> str:
        """Return beyond which ends of a numeric range nothing is looked for, and why; empty if beyond neither."""
        range_ = self.dimension.range
        assert not isinstance(range_, Choices)
        sides = (("below", range_.low, self.below), ("above", range_.high, self.above))
        return "".join(
            f"; not looked for {side} {number_text(bound, range_)}, where "
            f"{f'all {len(failed)}' if len(failed) > 1 else 'the only one'} {failure_words(failed)}"
            for side, bound, failed in sides
            if failed
        )

    def how_far(self) -> Interval:
        """Return how far the edges of a numeric range may move out: to the first trial that failed, or the limits."""
        assert not isinstance(self.dimension.range, Choices)
        assert not isinstance(self.dimension.limits, Choices)
        scale, limits = self.dimension.range.scale, interval_of(self.dimension.limits)
        below, above = (
            [scale(_number(each, self.dimension)) for each in failed] for failed in (self.below, self.above)
        )
        return Interval(low=max(below, default=limits.low), high=min(above, default=limits.high))


def opened(reachable: Dimension, current: Dimension, known: Sequence[Observation]) -> Open:
    """Return where the optimum of one dimension is looked for.

    Args:
        reachable: The dimension with a range that holds the current one.
        current: The same with the current range.
        known: Finished trials, within what is reachable, in any order.
    """
    trials = active(known, reachable.name)
    if isinstance(reachable.range, Choices):
        return _choices(reachable, current, trials)
    return _numbers(reachable, current, trials)


def _choices(reachable: Dimension, current: Dimension, trials: Sequence[Observation]) -> Open:
    assert isinstance(reachable.range, Choices)
    labels = [each.hyperparameters[reachable.name] for each in trials]
    fit = {label for label, each in zip(labels, trials, strict=True) if each.may_be_best}
    left = tuple(
        label for label in reachable.range.values if current.contains(label) or label in fit or label not in labels
    )
    return Open(dimension=replace(reachable, range=Choices(values=left)))


def _numbers(reachable: Dimension, current: Dimension, trials: Sequence[Observation]) -> Open:
    assert not isinstance(reachable.range, Choices)
    assert not isinstance(current.range, Choices)
    zeros = [each for each in trials if is_zero(each.hyperparameters[reachable.name], reachable)]
    returns = current.zero_share > 0.0 or not zeros or any(each.may_be_best for each in zeros)
    numbers = {each.number: _number(each, reachable) for each in trials if each not in zeros}
    others = [each for each in trials if each.number in numbers]
    fit = [numbers[each.number] for each in others if each.may_be_best]
    low, high = min(current.range.low, *fit), max(current.range.high, *fit)
    below = tuple(each for each in others if numbers[each.number] < low)
    above = tuple(each for each in others if numbers[each.number] > high)
    range_ = reachable.range.with_bounds(low if below else reachable.range.low, high if above else reachable.range.high)
    dimension = replace(reachable, range=range_, zero_share=reachable.zero_share if returns else 0.0)
    return Open(dimension=dimension, below=below, above=above)


def _number(trial: Observation, dimension: Dimension) -> float:
    value = trial.hyperparameters[dimension.name]
    assert not isinstance(value, str)
    return value

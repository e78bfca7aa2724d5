"""What a narrowing rule is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from search.comparable_rewards import Observation
from search.narrowing.evidence import ranked
from search.narrowing.interval import Interval, interval_of, range_from
from search.search_space import Choices, Dimension, SearchSpace
from search.study_definition import Direction, NarrowRule


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowingRequest:
    """All that a decision about the next ranges depends on.

    Attributes:
        observations: Finished trials of all stages so far, in any order.
        space: The current ranges.
        declared: The ranges as declared, of the same dimensions.
        direction: Whether more reward is better.
        rule: The rule's settings.
    """

    observations: Sequence[Observation]
    space: SearchSpace
    declared: SearchSpace
    direction: Direction
    rule: NarrowRule

    @property
    def inside(self) -> list[Observation]:
        """The observations inside the current ranges, best first."""
        return ranked([each for each in self.observations if self.space.contains(each.hyperparameters)], self.direction)

    @property
    def within_reach(self) -> list[Observation]:
        """The observations inside what is reachable, best first."""
        space = self.reachable
        return ranked([each for each in self.observations if space.contains(each.hyperparameters)], self.direction)

    @property
    def reachable(self) -> SearchSpace:
        """What is declared or current: all that a rule which looks at everything may choose from again."""
        return reachable(self.space, self.declared)


def reachable(space: SearchSpace, declared: SearchSpace) -> SearchSpace:
    """Return the least ranges that hold the current and the declared ones."""
    return SearchSpace(dimensions=tuple(_joined(current, declared[current.name]) for current in space.dimensions))


def _joined(current: Dimension, declared: Dimension) -> Dimension:
    if isinstance(current.range, Choices):
        assert isinstance(declared.range, Choices)
        assert isinstance(declared.limits, Choices)
        either = {*current.range.values, *declared.range.values}
        return replace(current, range=Choices(values=tuple(each for each in declared.limits.values if each in either)))
    assert not isinstance(declared.range, Choices)
    now, then = interval_of(current.range), interval_of(declared.range)
    hull = Interval(low=min(now.low, then.low), high=max(now.high, then.high))
    found = range_from(hull, declared)
    low = min(current.range.low, found.low)
    return replace(
        current,
        range=found.with_bounds(low, max(current.range.high, found.high)),
        zero_share=max(current.zero_share, declared.zero_share),
    )

"""What no rule may do: close in on a region at once, on the word of a few noisy trials.

Without the padding and the minimum width a box loses the optimum about half of the time in noisy searches of some 60
trials.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from search.narrowing.decisions import numeric_change
from search.narrowing.edges import Crowding, moved_out
from search.narrowing.interval import Interval, interval_of, range_from
from search.search_space import Choices, Dimension
from search.study_record import RangeChange

PADDING_SHARE = 0.15
MIN_WIDTH_SHARE = 0.5  # of the current width


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A new range.

    Attributes:
        after: The dimension with it; the dimension itself if nothing, or next to nothing, changed.
        change: What happened.
        was_held: Whether it would have been narrower without the minimum width.
        width_share: Its width in that of the current range.
    """

    after: Dimension
    change: RangeChange
    was_held: bool
    width_share: float


def guarded(dimension: Dimension, wanted: Interval, crowded: Crowding, *, within: Interval) -> Guarded:
    """Return the range that comes closest to what is wanted.

    Args:
        dimension: A numeric one, with its current range.
        wanted: Where the range should lie, inside `within`.
        crowded: The edge of the current range that moves out.
        within: Where the range may lie, beside what an edge that moves out adds.
    """
    assert not isinstance(dimension.range, Choices)
    assert not isinstance(dimension.limits, Choices)
    current, limits = interval_of(dimension.range), interval_of(dimension.limits)
    moved = moved_out(wanted, crowded.side, current, limits)
    reach = Interval(low=min(within.low, moved.low), high=max(within.high, moved.high))
    held = moved.widened(MIN_WIDTH_SHARE * current.width, within=reach)
    after = replace(dimension, range=range_from(held, dimension))
    change = numeric_change(dimension, after)
    if change is RangeChange.KEPT:
        after = dimension
    assert not isinstance(after.range, Choices)
    return Guarded(
        after=after,
        change=change,
        was_held=held.width > moved.width,
        width_share=interval_of(after.range).width / current.width,
    )

"""What no rule may do: close in on a region at once, on the word of a few noisy trials.

Without the padding and the minimum width a box loses the optimum about half of the time in noisy searches of some 60
trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from search.narrowing.decisions import Pair, decided, numeric_change
from search.narrowing.edges import Crowding, moved_out
from search.narrowing.interval import Interval, interval_of, range_from
from search.search_space import Choices, Dimension
from search.study_record import RangeChange

PADDING_SHARE = 0.15
MIN_WIDTH_SHARE = 0.5  # of the current width


def guarded(
    dimension: Dimension,
    good: Interval,
    crowded: Crowding,
    *,
    within: Interval,
    why: str,
    figures: Mapping[str, float],
    padding_share: float = PADDING_SHARE,
    furthest: Interval | None = None,
) -> Pair:
    """Return the range that comes closest to what is good; the dimension itself if next to nothing would change.

    Args:
        dimension: A numeric one, with its current range.
        good: Where the range should lie.
        crowded: The edge of the current range that moves out.
        within: Where the range may lie, beside what an edge that moves out adds.
        why: What speaks for `good`, in words.
        figures: The same in figures.
        padding_share: What is added at both ends of `good`, in its widths, >= 0.
        furthest: How far an edge may move out, within the limits; None for these.
    """
    assert not isinstance(dimension.range, Choices)
    assert not isinstance(dimension.limits, Choices)
    current, limits = interval_of(dimension.range), interval_of(dimension.limits)
    moved = moved_out(
        good.padded(padding_share * good.width).clipped(within), crowded.side, current, furthest or limits
    )
    reach = Interval(low=min(within.low, moved.low), high=max(within.high, moved.high))
    held = moved.widened(MIN_WIDTH_SHARE * current.width, within=reach)
    after = replace(dimension, range=range_from(held, dimension))
    change = numeric_change(dimension, after)
    if change is RangeChange.KEPT:
        after = dimension
    assert not isinstance(after.range, Choices)
    width_share = interval_of(after.range).width / current.width
    guards = _words(change, padding_share=padding_share, was_held=held.width > moved.width)
    return after, decided(
        dimension,
        after,
        change,
        f"{why}{guards}{crowded.words(dimension)}",
        {**figures, "width_share": width_share, **crowded.figures},
        cut_off=crowded.is_at_limit(dimension),
    )


def _words(change: RangeChange, *, padding_share: float, was_held: bool) -> str:
    if change is RangeChange.KEPT:
        return ", which is about all of the range"
    guards = [f"padded by {100.0 * padding_share:.0f} %"] if padding_share > 0.0 else []
    guards += ["held at half of the width"] if was_held else []
    return f"; {' and '.join(guards)}" if guards else ""

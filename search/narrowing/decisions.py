"""Making the record of what happened to one dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.narrowing.interval import interval_of
from search.range_text import range_text
from search.search_space import Choices, Dimension, SearchSpace
from search.study_record import NarrowedSpace, RangeChange, RangeDecision

NEGLIGIBLE_SHARE = 0.02  # a smaller change of width is none

Pair = tuple[Dimension, RangeDecision]
"""A dimension with its new range, and why."""


def put_together(pairs: Sequence[Pair]) -> NarrowedSpace:
    """Return the ranges of all dimensions with the reasons."""
    return NarrowedSpace(
        space=SearchSpace(dimensions=tuple(dimension for dimension, _ in pairs)),
        decisions=tuple(decision for _, decision in pairs),
    )


def kept_all(space: SearchSpace, reason: str) -> NarrowedSpace:
    """Return the ranges as they are, all for one reason."""
    return put_together([kept(dimension, reason) for dimension in space])


def kept(dimension: Dimension, reason: str, figures: Mapping[str, float] | None = None) -> Pair:
    """Return the dimension as it is."""
    return dimension, decided(dimension, dimension, RangeChange.KEPT, reason, figures or {})


def decided(
    before: Dimension,
    after: Dimension,
    change: RangeChange,
    reason: str,
    figures: Mapping[str, float],
    *,
    cut_off: bool = False,
) -> RangeDecision:
    """Return the record of a decision."""
    return RangeDecision(
        name=before.name,
        change=change,
        before=range_text(before),
        after=range_text(after),
        reason=reason,
        figures=dict(figures),
        cut_off=cut_off,
    )


def numeric_change(before: Dimension, after: Dimension) -> RangeChange:
    """Return what happened to a numeric range; a move inwards by a negligible share of the width is none."""
    assert not isinstance(before.range, Choices)
    assert not isinstance(after.range, Choices)
    old, new = interval_of(before.range), interval_of(after.range)
    out = max(old.low - new.low, new.high - old.high)
    inward = max(new.low - old.low, old.high - new.high)
    negligible = NEGLIGIBLE_SHARE * old.width
    if out > 0.0:
        return RangeChange.SHIFTED if inward > negligible else RangeChange.EXTENDED
    return RangeChange.NARROWED if inward > negligible else RangeChange.KEPT


def choices_change(before: Choices, after: Choices) -> RangeChange:
    """Return what happened to the choices."""
    lost, gained = set(before.values) - set(after.values), set(after.values) - set(before.values)
    if lost:
        return RangeChange.SHIFTED if gained else RangeChange.CHOICES_DROPPED
    return RangeChange.EXTENDED if gained else RangeChange.KEPT

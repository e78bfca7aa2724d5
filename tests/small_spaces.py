"""Spaces of a dimension or two, for tests of narrowing."""

from __future__ import annotations

from search.search_space import Condition, Dimension, Range, SearchSpace


def dimension(
    range_: Range,
    limits: Range | None = None,
    *,
    name: str = "x",
    zero_share: float = 0.0,
    when: Condition | None = None,
) -> Dimension:
    conditions = () if when is None else (when,)
    return Dimension(name=name, range=range_, limits=limits or range_, zero_share=zero_share, conditions=conditions)


def space(*dimensions: Dimension) -> SearchSpace:
    return SearchSpace(dimensions=dimensions)

"""Ranges that somebody draws who knows the optimum: what narrowing could be worth if nothing were cut off."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from quality_surface import Number, SurfaceError

from search.narrowing.interval import Interval, interval_of, range_from
from search.search_space import Choices, Dimension, SearchSpace

ORACLE = "oracle"


def oracle_share(rule: str) -> float | None:
    """Return what ``oracle:0.5`` stands for: ranges of half the declared widths; None for the name of a real rule.

    Raises:
        SurfaceError: If the share is not in ``(0, 1]``.
    """
    name, colon, share = rule.partition(":")
    if name != ORACLE:
        return None
    try:
        value = float(share) if colon else 0.5
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 1.0:
        raise SurfaceError(f"the share of {ORACLE}:SHARE must be in (0, 1], but got {rule!r}.")
    return value


def oracle_ranges(space: SearchSpace, optimum: Mapping[str, Number], *, share: float, instance: str) -> SearchSpace:
    """Return ranges around an optimum, which lies anywhere in them, as the instance says.

    Args:
        space: The declared ranges; numbers only, and the optimum lies inside.
        optimum: By dimension.
        share: Width of each range in declared widths, on its own scale, in ``(0, 1]``.
        instance: Any text.
    """
    rng = np.random.default_rng([zlib.crc32(instance.encode()), 11])
    return SearchSpace(
        dimensions=tuple(_around(each, optimum[each.name], share=share, below=rng.random()) for each in space)
    )


def _around(dimension: Dimension, optimum: Number, *, share: float, below: float) -> Dimension:
    assert not isinstance(dimension.range, Choices)
    declared = interval_of(dimension.range)
    width = share * declared.width
    low = min(max(dimension.range.scale(optimum) - below * width, declared.low), declared.high - width)
    return replace(dimension, range=range_from(Interval(low=low, high=low + width), dimension))

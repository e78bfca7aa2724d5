"""Where suggestions may lie: some of a parameter's coordinates, or all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np

from search.samplers.coordinates import Array, Mask, UnitCoordinates

Intervals: TypeAlias = tuple[tuple[float, float], ...]
"""Of coordinates in ``[0, 1]``, ascending and disjoint, at least one; an interval may be a single point."""

_ALL: Intervals = ((0.0, 1.0),)
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Region:
    """A product of sets of coordinates.

    Attributes:
        columns: The intervals of each of the ``d`` parameters.
    """

    columns: tuple[Intervals, ...]

    @classmethod
    def of(cls, names: Sequence[str], within: Mapping[str, Intervals]) -> Self:
        """Return the region that has these intervals by name, and all coordinates of the other parameters."""
        return cls(tuple(within.get(name, _ALL) for name in names))

    def around(self, center: Array, *, half_width: float, is_choice: Mask) -> Self:
        """Return the part of it that is near a point and has its choices.

        Args:
            center: Snapped, without NaN, shape ``(d,)``; if it lies outside, the nearest point counts.
            half_width: In `widths`, > 0.
            is_choice: Which columns are choices, shape ``(d,)``.
        """
        center = self.nearest(center[None])[0]
        reach = np.where(is_choice, 0.0, half_width * self.widths)
        lows, highs = (center - reach).tolist(), (center + reach).tolist()
        return type(self)(
            tuple(
                tuple((max(a, low), min(b, high)) for a, b in intervals if a <= high and b >= low)
                for intervals, low, high in zip(self.columns, lows, highs, strict=True)
            )
        )

    @property
    def widths(self) -> Array:
        """How much of each range belongs to it, in ``[0, 1]``, shape ``(d,)``."""
        return np.array([sum(high - low for low, high in intervals) for intervals in self.columns])

    def n_choices(self, coordinates: UnitCoordinates) -> tuple[int, ...]:
        """Return how many choices of each column of choices belong to it, >= 1."""
        columns = zip(self.columns, coordinates.n_values, coordinates.is_choice, strict=True)
        return tuple(
            n if intervals == _ALL else len(intervals)
            for intervals, n, is_choice in columns
            if is_choice and n is not None
        )

    def point(self, shares: Array) -> Array:
        """Return the points at such shares of the way through each parameter's intervals, shape ``(n, d)``."""
        points = shares.copy()
        for column, intervals in enumerate(self.columns):
            if intervals != _ALL:
                lows, highs = np.array(intervals).T
                before = np.append(0.0, np.cumsum(highs - lows))
                way = shares[:, column] * before[-1]
                index = np.minimum(np.searchsorted(before, way, side="right") - 1, len(intervals) - 1)
                points[:, column] = np.minimum(lows[index] + way - before[index], highs[index])
        return points

    def nearest(self, units: Array) -> Array:
        """Return the points of the region that are nearest to others, shape ``(n, d)``; NaN stays."""
        moved = units.copy()
        for column, intervals in enumerate(self.columns):
            if intervals != _ALL:
                lows, highs = np.array(intervals).T
                clipped = np.clip(units[:, column : column + 1], lows, highs)
                chosen = np.abs(clipped - units[:, column : column + 1]).argmin(axis=1)
                moved[:, column] = clipped[np.arange(len(units)), chosen]
        return moved

    def contains(self, units: Array) -> Mask:
        """Return which points lie in it, by all coordinates that they have, shape ``(n,)``."""
        inside: Mask = np.all(np.isnan(units) | (np.abs(self.nearest(units) - units) <= _ROUNDING), axis=1)
        return inside

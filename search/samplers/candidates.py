"""Which points a suggestion is chosen from: all that are left where there are few, else what a search looks at."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from search.samplers.acquisition import Acquisition, Proposer, Valued
from search.samplers.coordinates import Array, Mask, UnitCoordinates
from search.samplers.region import Region

MOST_ENUMERATED = 2048
"""Points of a place that are all looked at: about as many as a search looks at."""

_MOST_PROMISING = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Snapped points, the largest acquisition first.

    Attributes:
        promising: Those that are compared by how near they are to known ones, shape ``(n, d)``.
        looked_at: All, shape ``(m, d)``.
    """

    promising: Array
    looked_at: Array

    @classmethod
    def enumerated(
        cls,
        coordinates: UnitCoordinates,
        place: Region,
        acquisition: Acquisition,
        *,
        are_new: Callable[[Array], Mask],
    ) -> Self | None:
        """Return all points of a place that are new; None if it has more than `MOST_ENUMERATED`.

        Args:
            coordinates: Of the ``d`` parameters.
            place: Where to look.
            acquisition: Of snapped coordinates.
            are_new: Which of snapped points no trial had.
        """
        points = _all_points(coordinates, place)
        if points is None:
            return None
        points = points[are_new(points)]
        ranked = Valued.of(points, acquisition).ranked if len(points) else points
        return cls(promising=ranked[:_MOST_PROMISING], looked_at=ranked)

    @classmethod
    def searched(cls, proposer: Proposer, acquisition: Acquisition, *, around: Array) -> Self:
        """Return what a search looks at, of which its last round is promising; arguments as of `Proposer.ranked`."""
        rounds = list(proposer.rounds(acquisition, around=around))
        points = np.vstack([each.points for each in rounds])
        values = np.concatenate([each.values for each in rounds])
        return cls(promising=rounds[-1].ranked, looked_at=Valued(points=points, values=values).ranked)


def _all_points(coordinates: UnitCoordinates, place: Region) -> Array | None:
    """Return the points that something in a place stands for; None if they are more than `MOST_ENUMERATED`."""
    columns: list[Array] = []
    for (name, distribution), intervals in zip(coordinates.distributions.items(), place.columns, strict=True):
        units = coordinates.all_units(name, at_most=MOST_ENUMERATED)
        if units is None:
            return None
        alone = UnitCoordinates({name: distribution}, coordinates.cells)
        moved = alone.snap(Region((intervals,)).nearest(units[:, None])).ravel()
        columns.append(units[moved == units])
    if math.prod(map(len, columns)) > MOST_ENUMERATED:
        return None
    return np.stack(np.meshgrid(*columns, indexing="ij"), axis=-1).reshape(-1, len(columns))

"""Expected improvement, and the search for where it is largest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import ndtr

from search.samplers.coordinates import Array, Mask, UnitCoordinates
from search.samplers.region import Region

_N_CANDIDATES = 512  # in the whole region, and as many again around the best points
_CORNER_SHARE = 0.25  # of the coordinates of candidates are at an end of their range: many optima are
_N_AROUND = 8
_N_ROUNDS = 4
_N_KEPT, _N_VARIED = 10, 24  # of each round, and variations of each of them
_STEP, _STEP_DECAY = 0.2, 0.55  # standard deviation of a variation, in ranges
_FIRST_STEP = 0.15
_JUMP_SHARE = 0.1  # of a variation's coordinates go to an end of their range; none in the last round
_TINY_PROBABILITY = 1e-300
_FAR = -5.0

Acquisition = Callable[[Array], Array]
"""Of snapped coordinates, shape ``(n, d)``: the more the better, shape ``(n,)``."""


def log_expected_improvement(mean: Array, deviation: Array, *, best: float) -> Array:
    """Return the logarithm of the expected improvement, where it is tiny too.

    Source: Ament et al., "Unexpected improvements to expected improvement for Bayesian optimization", NeurIPS 2023.

    Args:
        mean: Of a normal distribution each, shape ``(n,)``.
        deviation: Their standard deviations, > 0.
        best: What is to be improved upon.
    """
    u = (mean - best) / deviation
    density = np.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi)
    near = np.log(np.maximum(density + u * ndtr(u), _TINY_PROBABILITY))
    far = np.minimum(u, _FAR)
    tail = -0.5 * far * far - 0.5 * math.log(2.0 * math.pi) - 2.0 * np.log(-far)
    return np.log(deviation) + np.where(u > _FAR, near, tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Valued:
    """Points with their acquisition.

    Attributes:
        points: Snapped coordinates, shape ``(n, d)``.
        values: Shape ``(n,)``.
    """

    points: Array
    values: Array

    @classmethod
    def of(cls, points: Array, acquisition: Acquisition) -> Self:
        """Return points with what an acquisition says of them."""
        return cls(points=points, values=acquisition(points))

    def __add__(self, others: Valued) -> Valued:
        return Valued(
            points=np.vstack([self.points, others.points]), values=np.concatenate([self.values, others.values])
        )

    @property
    def ranked(self) -> Array:
        """The points, the largest acquisition first, shape ``(n, d)``."""
        return self.best(len(self.values)).points

    def best(self, n: int) -> Valued:
        """Return the points of the largest acquisition, that first."""
        order = np.argsort(-self.values, kind="stable")[:n]
        return Valued(points=self.points[order], values=self.values[order])


class Proposer:
    """Looks for points of large acquisition by random search with shrinking variations.

    Args:
        coordinates: Of the ``d`` parameters.
        rng: Source of all draws.
        region: Where to look.
        widths: What steps are relative to, shape ``(d,)``.
    """

    def __init__(self, coordinates: UnitCoordinates, rng: np.random.Generator, region: Region, widths: Array) -> None:
        self._coordinates = coordinates
        self._is_choice = coordinates.is_choice
        self._rng = rng
        self._region = region
        self._widths = widths

    def ranked(self, acquisition: Acquisition, *, around: Array) -> Array:
        """Return the points of the last round, the largest acquisition first, shape ``(n, d)``.

        Args:
            acquisition: Of snapped coordinates.
            around: Points worth a closer look, the best first, shape ``(m, d)``, without NaN.
        """
        *_, last = self.rounds(acquisition, around=around)
        return last.ranked

    def rounds(self, acquisition: Acquisition, *, around: Array) -> Iterator[Valued]:
        """Yield the points of each round, those worth a variation and their variations; arguments as of `ranked`."""
        points = [self._anywhere()]
        if len(around):
            starts = np.repeat(around[:_N_AROUND], _N_CANDIDATES // _N_AROUND, axis=0)
            points.append(self._varied(starts, step=_FIRST_STEP, share=0.5, jumps=0.0))
        found = Valued.of(self._snapped(np.vstack(points)), acquisition)
        yield found
        for index in range(_N_ROUNDS):
            kept = found.best(_N_KEPT)
            jumps = _JUMP_SHARE if index + 1 < _N_ROUNDS else 0.0
            starts = np.repeat(kept.points, _N_VARIED, axis=0)
            varied = self._snapped(self._varied(starts, step=_STEP * _STEP_DECAY**index, share=0.4, jumps=jumps))
            found = kept + Valued.of(varied, acquisition)
            yield found

    def _anywhere(self) -> Array:
        units = self._region.point(self._rng.random((_N_CANDIDATES, len(self._is_choice))))
        return self._at_ends(units, self._chosen(units, _CORNER_SHARE))

    def _snapped(self, units: Array) -> Array:
        return self._coordinates.snap(self._region.nearest(units))

    def _varied(self, units: Array, *, step: float, share: float, jumps: float) -> Array:
        moved = self._chosen(units, share)
        away = self._rng.normal(0.0, step, units.shape) * self._widths
        varied = np.where(moved & ~self._is_choice, units + away, units)
        redrawn = self._chosen(units, step) & self._is_choice
        varied = np.where(redrawn, self._region.point(self._rng.random(units.shape)), varied)
        return self._at_ends(varied, self._chosen(units, jumps))

    def _at_ends(self, units: Array, chosen: Mask) -> Array:
        return np.where(chosen & ~self._is_choice, self._rng.random(units.shape).round(), units)

    def _chosen(self, units: Array, share: float) -> Mask:
        chosen: Mask = self._rng.random(units.shape) < share
        return chosen


def first_new(points: Array, known: Array, *, is_choice: Mask, distance: Array | float) -> Array | None:
    """Return the first point that is not too near to a known one, shape ``(d,)``; None if all are.

    Args:
        points: Shape ``(n, d)``.
        known: Shape ``(m, d)``; NaN where a point lacks a parameter, as good as equal.
        is_choice: Which columns are choices, shape ``(d,)``: other choices are never near.
        distance: In ranges, of each coordinate, shape ``(d,)``, or of all; nearer in all coordinates is too near.
    """
    for point in points:
        apart = np.abs(known - point)
        apart = np.where(np.isnan(apart), 0.0, np.where(is_choice & (apart > 0.0), math.inf, apart))
        if not len(known) or (apart > distance).any(axis=1).all():
            chosen: Array = point
            return chosen
    return None

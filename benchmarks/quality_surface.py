"""What a search is measured on: learning curves by hyperparameters, with a known best and a scale for regret."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Number = int | float
Point = Mapping[str, Number]
"""Hyperparameters by name, in their own units."""

N_FULL_TRAININGS = (10, 25, 50, 100)
"""Budgets at which regret is told, in trainings of full length."""


class SurfaceError(Exception):
    """The data, or what is asked of them, is not as it must be; the message says what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceRange:
    """Closed interval of one hyperparameter.

    Attributes:
        name: The hyperparameter.
        kind: Scale on which it is sampled uniformly, as a study file spells it.
        low: Smallest value, > 0 on the log scales.
        high: Largest value, > `low`; an integer, as `low`, where the values are.
    """

    name: str
    kind: Literal["log", "linear", "int", "int_log"]
    low: float
    high: float

    @property
    def is_log(self) -> bool:
        """Whether it is sampled on a log scale."""
        return self.kind in ("log", "int_log")

    @property
    def is_int(self) -> bool:
        """Whether its values are integers."""
        return self.kind in ("int", "int_log")

    def from_unit(self, unit: float) -> Number:
        """Return the value at a coordinate in ``[0, 1]``; integers have cells of equal width on the scale."""
        half = 0.5 if self.is_int else 0.0
        low, high = self.low - half, self.high + half
        if self.is_log:
            value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
        else:
            value = low + unit * (high - low)
        value = min(max(value, self.low), self.high)
        return round(value) if self.is_int else value


class Surface(Protocol):
    """Trainings that have been made already, or can be computed."""

    @property
    def ranges(self) -> Sequence[SurfaceRange]:
        """The search space."""

    @property
    def n_epochs(self) -> int:
        """Epochs of a training of full length, >= 1."""

    def curve(self, point: Point) -> Sequence[float]:
        """Return what a training shows epoch by epoch (`n_epochs` values, more is better); always the same."""

    def true_curve(self, point: Point) -> Sequence[float]:
        """Return the same without noise."""

    def normalized_regret(self, value: float) -> float:
        """Return what a true value lacks to the best, in what the median of random trainings of full length lacks."""


def random_point(ranges: Sequence[SurfaceRange], rng: np.random.Generator) -> dict[str, Number]:
    """Draw a point uniformly on the ranges' scales."""
    return {each.name: each.from_unit(rng.random()) for each in ranges}


def draw_seed(instance: str, seed: int) -> int:
    """Return the random seed of a pair, in ``[0, 2**31)``: every pair has a draw of its own."""
    return int(np.random.SeedSequence([zlib.crc32(instance.encode()), seed]).generate_state(1)[0] % 2**31)


def checkpoints(n_epochs: int, *, budget_epochs: int) -> list[int]:
    """Return the budgets in epochs at which a run is judged, ascending: the usual ones, and its own."""
    return sorted({each * n_epochs for each in N_FULL_TRAININGS if each * n_epochs < budget_epochs} | {budget_epochs})

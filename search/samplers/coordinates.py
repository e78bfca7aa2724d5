"""Optuna's distributions as coordinates in ``[0, 1]``, one column a parameter, and back.

Equal steps of a coordinate are equal steps on the parameter's own scale, and uniform coordinates are Optuna's uniform
prior. What a parameter can only take a finite number of (integers, stepped floats, choices) owns cells: any coordinate
of a cell means its value. A choice's cells have no order; its value has the middle of its cell as coordinate, so that
two choices are equal exactly where their coordinates are, and `UnitCoordinates.one_hot` gives its block of indicators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_UNKNOWN = 0.5  # what a kernel sees of a number that a point lacks
_MARGIN = 1e-9  # in steps: how far beyond the bounds a value may lie by rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Cells at the lower end of a float that is itself a coordinate: any value of a cell means the same.

    Attributes:
        ends: Of the cells, ascending; the first one begins at 0, and beyond the last every value means itself.
        middles: The value that stands for each cell, inside it.
        at_one: The value that stands for 1, where that means the same as a cell; None if it means itself.
    """

    ends: tuple[float, ...]
    middles: tuple[float, ...]
    at_one: float | None = None

    @property
    def all_units(self) -> Array | None:
        """All that stands for something, shape ``(n,)``; None where values beyond the cells mean themselves."""
        return np.array(self.middles) if self.ends[-1] >= 1.0 else None

    def snapped(self, units: Array) -> Array:
        """Return what stands for values, shape ``(n,)``; NaN stays."""
        index = np.searchsorted(self.ends, units, side="right")
        snapped = np.where(index < len(self.ends), np.array([*self.middles, math.nan])[index], units)
        return snapped if self.at_one is None else np.where(units >= 1.0, self.at_one, snapped)


@dataclass(frozen=True, slots=True)
class UnitCoordinates:
    """The map between the parameters of a search space and the rows of an array.

    Attributes:
        distributions: Of the ``d`` parameters, by name, in the order of the columns. One with a single value can be
            decoded only, and `of` leaves it out.
        cells: Of those parameters, floats in ``[0, 1]``, that have any.
    """

    distributions: Mapping[str, BaseDistribution]
    cells: Mapping[str, Cells] = field(default_factory=dict)

    @classmethod
    def of(cls, search_space: Mapping[str, BaseDistribution], cells: Mapping[str, Cells] | None = None) -> Self:
        """Return the coordinates of a search space; parameters with a single value have none."""
        return cls({name: each for name, each in search_space.items() if not each.single()}, cells or {})

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters, in the order of the columns."""
        return tuple(self.distributions)

    @property
    def is_choice(self) -> Mask:
        """Which columns are choices, shape ``(d,)``."""
        return np.array([isinstance(each, CategoricalDistribution) for each in self.distributions.values()], dtype=bool)

    @property
    def n_values(self) -> tuple[int | None, ...]:
        """How many values each parameter can take, >= 2; None for continuous ones."""
        return tuple(_n_values(each) for each in self.distributions.values())

    @property
    def is_finite(self) -> bool:
        """Whether there are finitely many points."""
        columns = zip(self.names, self.n_values, strict=True)
        return all(
            n is not None or (name in self.cells and self.cells[name].all_units is not None) for name, n in columns
        )

    def encode(self, points: Sequence[Mapping[str, Any]]) -> tuple[Array, Mask]:
        """Return the coordinates of points, and which of them are known.

        Args:
            points: ``n`` points, each with some or all of the parameters, and perhaps others.

        Returns:
            Coordinates in ``[0, 1]``, and the mask of those that are known, both of shape ``(n, d)``. A parameter that
            a point lacks, or that has a value there which its distribution does not contain, is NaN and not known.
        """
        units = np.full((len(points), len(self.distributions)), math.nan)
        for column, (name, distribution) in enumerate(self.distributions.items()):
            raw = np.array([_internal(distribution, point[name]) if name in point else math.nan for point in points])
            units[:, column] = _to_unit(distribution, raw)
        return units, ~np.isnan(units)

    def decode(self, unit: Array) -> dict[str, Any]:
        """Return the parameters that a row of coordinates stands for, as Optuna's own Python values.

        Args:
            unit: Shape ``(d,)``; what lies outside ``[0, 1]`` is moved to its edge. NaN leaves the parameter out.
        """
        return {
            name: distribution.to_external_repr(_from_unit(distribution, unit[column : column + 1]).item())
            for column, (name, distribution) in enumerate(self.distributions.items())
            if not math.isnan(unit[column])
        }

    def snap(self, units: Array) -> Array:
        """Return the coordinates of the values that rows of coordinates stand for.

        Args:
            units: Shape ``(n, d)``; what lies outside ``[0, 1]`` is moved to its edge, NaN stays.
        """
        snapped = np.clip(units, 0.0, 1.0)
        for column, (name, distribution) in enumerate(self.distributions.items()):
            if name in self.cells:
                snapped[:, column] = self.cells[name].snapped(snapped[:, column])
            elif _n_values(distribution) is not None:
                snapped[:, column] = _to_unit(distribution, _from_unit(distribution, snapped[:, column]))
        return snapped

    def all_units(self, name: str, *, at_most: int) -> Array | None:
        """Return the coordinates of all that a parameter can be, shape ``(n,)``; None if that is more than so many."""
        distribution = self.distributions[name]
        if name in self.cells:
            return self.cells[name].all_units
        n = _n_values(distribution)
        if n is None or n > at_most:
            return None
        if isinstance(distribution, CategoricalDistribution):
            return _to_unit(distribution, np.arange(n, dtype=np.float64))
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        numbers = distribution.low + np.arange(n) * (distribution.step or 0.0)
        return _to_unit(distribution, np.minimum(numbers, distribution.high))

    def choice_indices(self, units: Array, column: int) -> NDArray[np.int64]:
        """Return which choice each coordinate of a column stands for, shape ``(n,)``; -1 for NaN.

        Raises:
            ValueError: If the column is not a choice's.
        """
        n_choices = self._n_choices(column)
        indices = np.minimum(units[:, column] * n_choices, n_choices - 1)
        return np.where(np.isnan(indices), -1, indices).astype(np.int64)

    def one_hot(self, units: Array, column: int) -> Array:
        """Return the indicators of a column of choices, shape ``(n, n_choices)``; a row of zeros for NaN.

        Raises:
            ValueError: If the column is not a choice's.
        """
        choices = np.arange(self._n_choices(column))
        indicators: Array = np.equal.outer(self.choice_indices(units, column), choices).astype(np.float64)
        return indicators

    def features(self, units: Array) -> tuple[Array, NDArray[np.int64]]:
        """Return points as a kernel sees them: a coordinate for each number, indicators for each choice.

        Args:
            units: Snapped coordinates, NaN where a point lacks a parameter (of a number, the middle stands for it),
                shape ``(n, d)``.

        Returns:
            Shape ``(n, k)``, the squared distance of two choices being 1; and to which of the ``d`` parameters each of
            the ``k`` columns belongs.
        """
        blocks = [
            self.one_hot(units, column) / math.sqrt(2.0)
            if is_choice
            else np.nan_to_num(units[:, column : column + 1], nan=_UNKNOWN)
            for column, is_choice in enumerate(self.is_choice)
        ]
        return np.hstack(blocks), np.repeat(np.arange(len(blocks)), [block.shape[1] for block in blocks])

    def _n_choices(self, column: int) -> int:
        distribution = self.distributions[self.names[column]]
        if not isinstance(distribution, CategoricalDistribution):
            raise ValueError(f"column {column} ({self.names[column]!r}) must be a choice, but is {distribution!r}.")
        return len(distribution.choices)


def _n_values(distribution: BaseDistribution) -> int | None:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.step is None:
        return None
    return round((distribution.high - distribution.low) / distribution.step) + 1


def _internal(distribution: BaseDistribution, value: Any) -> float:
    """Return Optuna's number for a value (of a choice its index); NaN if the distribution has none for it."""
    try:
        return distribution.to_internal_repr(value)
    except ValueError:
        return math.nan


def _edges(distribution: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Return the positions on the scale of coordinates 0 and 1; a stepped parameter owns half a step on each side."""
    margin = 0.0 if distribution.step is None else distribution.step / 2.0
    low, high = distribution.low - margin, distribution.high + margin
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def _to_unit(distribution: BaseDistribution, raw: Array) -> Array:
    if isinstance(distribution, CategoricalDistribution):
        return (raw + 0.5) / len(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    margin = _MARGIN * (distribution.step or 0.0)
    known = np.where((raw >= distribution.low - margin) & (raw <= distribution.high + margin), raw, math.nan)
    low, high = _edges(distribution)
    return np.clip(((np.log(known) if distribution.log else known) - low) / (high - low), 0.0, 1.0)


def _from_unit(distribution: BaseDistribution, units: Array) -> Array:
    """Return Optuna's numbers for coordinates; NaN stays."""
    units = np.clip(units, 0.0, 1.0)
    if isinstance(distribution, CategoricalDistribution):
        n_choices = len(distribution.choices)
        return np.minimum(np.floor(units * n_choices), n_choices - 1)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _edges(distribution)
    raw = low + units * (high - low)
    if distribution.log:
        raw = np.exp(raw)
    if distribution.step is not None:
        raw = distribution.low + np.round((raw - distribution.low) / distribution.step) * distribution.step
    return np.clip(raw, distribution.low, distribution.high)

"""Which parameters a point has: conditions learned from the trials, which an Optuna study does not tell.

A parameter that only some trials have depends, as far as can be told, on the value of one other parameter with few
values: where each of its values goes with trials that all have the parameter, or all lack it, that is the condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from search.samplers.coordinates import Array, Mask, UnitCoordinates

_MOST_VALUES = 64  # of a parameter that others may depend on


@dataclass(frozen=True, slots=True, kw_only=True)
class _Condition:
    column: int
    depends_on: int
    inactive_at: NDArray[np.float64]  # coordinates of the other column


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What is known of the conditions in a search space.

    Attributes:
        conditions: Of the columns that are inactive somewhere, what a condition depends on before it.
    """

    conditions: tuple[_Condition, ...] = ()

    @classmethod
    def learned(cls, coordinates: UnitCoordinates, units: Array, known: Mask) -> Self:
        """Return the conditions that explain all trials; a column without an explanation counts as always active.

        Args:
            coordinates: Of the ``d`` parameters.
            units: Snapped coordinates of the trials, NaN where not known, shape ``(n, d)``.
            known: Shape ``(n, d)``.
        """
        few_values = [column for column, n in enumerate(coordinates.n_values) if n is not None and n <= _MOST_VALUES]
        explained = [column for column in few_values if known[:, column].all()]
        unexplained = [column for column in range(known.shape[1]) if not known[:, column].all()]
        conditions: list[_Condition] = []
        while True:
            candidates = (_condition(column, explained, units, known) for column in unexplained)
            found = next((each for each in candidates if each is not None), None)
            if found is None:
                return cls(conditions=tuple(conditions))
            conditions.append(found)
            unexplained.remove(found.column)
            if found.column in few_values:
                explained.append(found.column)

    def masked(self, units: Array) -> Array:
        """Return snapped coordinates, shape ``(m, d)``, with NaN for the parameters that the points lack."""
        masked = units.copy()
        for each in self.conditions:
            other = masked[:, each.depends_on]
            inactive = np.isnan(other) | np.isin(other, each.inactive_at)
            masked[inactive, each.column] = np.nan
        return masked


def _condition(column: int, candidates: Sequence[int], units: Array, known: Mask) -> _Condition | None:
    for other in candidates:
        if known[~known[:, other], column].any():
            continue  # it would have to be active where the other one is not
        with_it = np.unique(units[known[:, column], other])
        without_it = np.unique(units[known[:, other] & ~known[:, column], other])
        if len(with_it) and not np.isin(with_it, without_it).any():
            return _Condition(column=column, depends_on=other, inactive_at=without_it)
    return None

"""A study's hyperparameters as the model of learning curves sees them, whatever ranges a stage has."""

from __future__ import annotations

from dataclasses import replace

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from search.samplers.coordinates import UnitCoordinates
from search.search_space import Choices, Dimension, Hyperparameters, SearchSpace, Value

_UNIT = FloatDistribution(0.0, 1.0)


class CurveCoordinates:
    """Coordinates relative to the limits of a study's dimensions.

    Attributes:
        units: For the model; dimensions with a single value have none.

    Args:
        space: The study's dimensions.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._dimensions = [replace(each, range=each.limits) for each in space]
        self.units = UnitCoordinates.of({each.name: _distribution(each) for each in self._dimensions})

    def params(self, hyperparameters: Hyperparameters) -> dict[str, Value]:
        """Return what stands for a trial's hyperparameters in `units`."""
        known = ((each, hyperparameters.get(each.name)) for each in self._dimensions)
        return {
            each.name: value if isinstance(each.range, Choices) else each.to_unit(value)
            for each, value in known
            if value is not None
        }


def _distribution(dimension: Dimension) -> BaseDistribution:
    return CategoricalDistribution(dimension.range.values) if isinstance(dimension.range, Choices) else _UNIT

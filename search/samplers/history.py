"""A study's trials as a model of them needs them: coordinates, what they lack, features for a kernel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial

from search.samplers.activity import Activity
from search.samplers.coordinates import Array, Mask, UnitCoordinates
from search.samplers.critic import Features


class History:
    """A study's trials as arrays.

    Attributes:
        coordinates: Of the ``d`` parameters.
        finished: Coordinates of the complete and pruned trials, NaN where they lack a parameter, shape ``(n, d)``.
        running: The same of those under way.
        activity: Conditions that explain which parameters the finished ones have.

    Args:
        coordinates: Of the ``d`` parameters.
        finished: Complete and pruned trials.
        running: Trials under way, those without any parameter left out.
    """

    def __init__(
        self, coordinates: UnitCoordinates, finished: Sequence[FrozenTrial], running: Sequence[FrozenTrial]
    ) -> None:
        self.coordinates = coordinates
        self.finished, known = coordinates.encode([each.params for each in finished])
        self.running, is_drawn = coordinates.encode([each.params for each in running])
        self.running = self.running[is_drawn.any(axis=1)]
        self.activity = Activity.learned(coordinates, self.finished, known)
        self._seen = set(_keys(np.vstack([self.finished, self.running])))

    def has(self, unit: Array) -> bool:
        """Return whether a trial had these snapped coordinates, shape ``(1, d)``, where it has a parameter."""
        return not self.are_new(unit)[0]

    def are_new(self, units: Array) -> Mask:
        """Return which points no trial had, where they have a parameter; snapped, shape ``(n, d)``."""
        return np.array([key not in self._seen for key in _keys(self.activity.masked(units))], dtype=bool)

    def features(self, units: Array) -> Features:
        """Return points, NaN where they lack a parameter, as the critic sees them."""
        values, parameter = self.coordinates.features(units)
        return Features(values=values, parameter=parameter)


def _keys(units: Array) -> list[bytes]:
    return [each.tobytes() for each in np.where(np.isnan(units), -1.0, np.round(units, 12))]

"""What was proposed to trials under way and is not yet in their study, for threads that ask at the same time."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial

from search.samplers.activity import Activity
from search.samplers.coordinates import UnitCoordinates

_MOST_KEPT = 256


class Proposals:
    """Remembers what a sampler has proposed in this process; copies of it, pickled ones too, remember nothing.

    Attributes:
        lock: To be held from the look at the study until what was proposed is remembered; who holds it may take it
            again.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._params: OrderedDict[tuple[int, datetime | None], dict[str, Any]] = OrderedDict()

    def __reduce__(self) -> tuple[type[Proposals], tuple[()]]:
        return Proposals, ()

    def remember(self, trial: FrozenTrial, params: dict[str, Any]) -> None:
        """Keep what was proposed to a trial; of many, the last ones are kept."""
        self._params[_key(trial)] = params
        while len(self._params) > _MOST_KEPT:
            self._params.popitem(last=False)

    def shown(self, trials: Sequence[FrozenTrial], coordinates: UnitCoordinates) -> list[FrozenTrial]:
        """Return a study's trials, those under way that have no parameter yet with what was proposed to them.

        A parameter that a trial will not have, by the conditions that explain the finished ones, is left out.

        Args:
            trials: Any of them, in any state.
            coordinates: Of the parameters that conditions are learned of.
        """
        waiting = {
            index: self._params[_key(each)]
            for index, each in enumerate(trials)
            if not each.params and not each.state.is_finished() and _key(each) in self._params
        }
        shown = list(trials)
        if waiting:
            activity = _learned_activity(trials, coordinates)
            for index, params in waiting.items():
                shown[index] = copy.copy(trials[index])
                shown[index].params = _active(params, activity, coordinates)
        return shown


def _key(trial: FrozenTrial) -> tuple[int, datetime | None]:
    """Return what tells trials apart, those of different studies too."""
    return trial.number, trial.datetime_start


def _learned_activity(trials: Sequence[FrozenTrial], coordinates: UnitCoordinates) -> Activity:
    units, known = coordinates.encode([each.params for each in trials if each.state.is_finished() and each.params])
    return Activity.learned(coordinates, coordinates.snap(units), known)


def _active(params: dict[str, Any], activity: Activity, coordinates: UnitCoordinates) -> dict[str, Any]:
    units, _ = coordinates.encode([params])
    active = coordinates.decode(activity.masked(coordinates.snap(units))[0])
    return {name: value for name, value in params.items() if name in active}

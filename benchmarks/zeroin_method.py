"""zeroin itself: a whole study on virtual workers, its coordinator, storage and epoch logs as users have them.

8 trials for a quarter of the epochs of a full training, then 8 full ones, then full ones until the budget is spent; all
else at the study file's defaults: the first placed evenly, the others by `mixed`, pruned by `forecast`, in ranges that
narrow by `posterior` as each stage opens.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from asked_method import SPEED_SPREAD, Suggestions
from epoch_meter import BudgetSpentError, EpochMeter
from no_tracker import NoTracker
from quality_surface import Number, Surface, SurfaceError
from virtual_workers import Delays, EventClock, VirtualWorkers, accuracy_metrics

from search.coordinator.session import Session
from search.coordinator.stores import StoreUris, store_uris
from search.errors import StudyInterruptedError
from search.messages import TrialAssignment
from search.observer import SilentObserver
from search.paths import StateDirectory
from search.storage import StudyStore
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain
from search.study_file.schema import SAMPLER_NAMES

_NAME = "quality"
_N_COARSE, _COARSE_SHARE, _N_MEDIUM = 8, 0.25, 8
_N_PROMOTED = 2
_SWAPS: Mapping[str, tuple[str, Any]] = {
    "-no-narrowing": ("narrow", "none"),
    "-no-pruning": ("pruner", "none"),
    "-median": ("pruner", "median"),
    "-promote": ("promote", _N_PROMOTED),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What an ablation leaves out or swaps; None for the study file's default.

    Attributes:
        sampler: Of the stages after the first.
        narrow: Name of the narrowing rule.
        pruner: Name of the pruning rule.
        promote: How many trials of the second stage continue the best of the first.
    """

    sampler: str | None = None
    narrow: str | None = None
    pruner: str | None = None
    promote: int = 0


def variant(name: str) -> Variant:
    """Return what ``zeroin``, ``zeroin-gp``, ``zeroin-no-narrowing``, ``zeroin-cmaes-no-pruning`` … stand for.

    Raises:
        SurfaceError: If a sampler of that name does not exist.
    """
    rest = name.removeprefix("zeroin")
    swaps: dict[str, Any] = {}
    for swap, (key, value) in _SWAPS.items():
        if swap in rest:
            rest = rest.replace(swap, "")
            swaps[key] = value
    if rest and rest.removeprefix("-") not in SAMPLER_NAMES:
        sampler = rest.removeprefix("-")
        raise SurfaceError(f"a sampler in {name!r} must be one of {', '.join(SAMPLER_NAMES)}, but got {sampler!r}.")
    return Variant(sampler=rest.removeprefix("-") or None, **swaps)


def run_zeroin(chosen: Variant, meter: EpochMeter, *, n_workers: int, seed: int) -> Suggestions:
    """Run a study until the budget is spent.

    Returns:
        The trials proposed, and the time that the coordinator took to propose them.
    """
    definition = study_definition(chosen, meter.surface, budget_epochs=meter.budget_epochs, seed=seed)
    return run_definition(definition, meter, n_workers=n_workers)


def run_definition(definition: StudyDefinition, meter: EpochMeter, *, n_workers: int) -> Suggestions:
    """Run a study of `study_definition`, or one made of it, until the budget is spent.

    Returns:
        The trials proposed, and the time that the coordinator took to propose them.
    """
    return run_session(definition, MeteredTrainings(meter), n_workers=n_workers)


def run_session(
    definition: StudyDefinition, metrics: Callable[[TrialAssignment, int], Mapping[str, float]], *, n_workers: int
) -> Suggestions:
    """Run a study until `metrics`, which says what a trial logs in an epoch, raises `BudgetSpentError`.

    Returns:
        The trials proposed, and the time that the coordinator took to propose them.

    Raises:
        KeyboardInterrupt: If a signal ended the study.
    """
    clock = EventClock()
    engine = VirtualWorkers(n_slots=n_workers, clock=clock, delays=Delays(spread=SPEED_SPREAD), metrics=metrics)
    with tempfile.TemporaryDirectory() as root:
        state = StateDirectory(root=Path(root))
        uris = store_uris(state, definition)
        session = Session(
            definition=definition, uris=uris, state=state, engine=engine, observer=SilentObserver(), clock=clock
        )
        with patch("search.coordinator.session.MlflowTracker", NoTracker):
            try:
                session.run()
            except BudgetSpentError:
                return _suggestions(definition, uris)
            except StudyInterruptedError as error:  # by a signal to this process, not a failure of the method
                raise KeyboardInterrupt from error
    raise RuntimeError("the study ended before its budget was spent.")


def study_definition(chosen: Variant, surface: Surface, *, budget_epochs: int, seed: int) -> StudyDefinition:
    """Return the study on a surface."""
    return definition_from_plain(
        {
            "study": _NAME,
            "seed": seed,
            "model": {"class_path": "surface.Net"},
            "objective": {"monitor": "val_acc", "direction": "maximize"},
            "space": {
                f"model.{each.name}": {each.kind: [each.low, each.high], "limits": [each.low, each.high]}
                for each in surface.ranges
            },
            **plan(chosen, n_epochs=surface.n_epochs, budget_epochs=budget_epochs),
        }
    )


def plan(chosen: Variant, *, n_epochs: int, budget_epochs: int) -> dict[str, Any]:
    """Return what a study file says about stages, narrowing and pruning.

    Args:
        chosen: What is left out or swapped.
        n_epochs: Epochs of a training of full length, >= 1.
        budget_epochs: The last stage has as many trials as they could ever pay for.
    """
    n_coarse = max(1, math.ceil(_COARSE_SHARE * n_epochs))
    later = {"max_epochs": n_epochs, **({"sampler": chosen.sampler} if chosen.sampler else {})}
    return {
        "stages": [
            {"name": "coarse", "n_trials": _N_COARSE, "max_epochs": n_coarse},
            {"name": "medium", "n_trials": _N_MEDIUM, "promote": chosen.promote, **later},
            {"name": "fine", "n_trials": budget_epochs, **later},
        ],
        **({"narrow": chosen.narrow} if chosen.narrow else {}),
        **({"pruner": chosen.pruner} if chosen.pruner else {}),
    }


@dataclass(frozen=True, slots=True)
class MeteredTrainings:
    """What a trial logs on the meter's surface, each epoch paid for; one that is continued pays as the meter says."""

    meter: EpochMeter

    def __call__(self, assignment: TrialAssignment, epoch: int) -> Mapping[str, float]:
        n_before = assignment.n_epochs_reported
        if n_before and epoch == n_before + 1:
            self.meter.go_on(n_epochs=n_before)
        arguments = assignment.assembly.model_args
        point: dict[str, Number] = {each.name: arguments[each.name] for each in self.meter.surface.ranges}
        return accuracy_metrics(self.meter.train(point, epoch))


def _suggestions(definition: StudyDefinition, uris: StoreUris) -> Suggestions:
    store = StudyStore(uris.storage, create=False)
    try:
        study = store.open(definition.study)
        return Suggestions(n=study.n_trials, seconds=study.bookkeeping_seconds.get("asking", 0.0))
    finally:
        store.close()

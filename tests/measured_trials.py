"""Finished trials that are told apart by what each of their epochs measured, and how a study ranks them."""

from __future__ import annotations

from typing import Any

from search.constraint import Constraint
from search.reward import score
from search.search_space import Hyperparameters
from search.study_definition import Direction, FurtherObjective, Objective
from search.trial import EpochRecord, FinishedTrial, TrialRecord, TrialState

GAP_BOUND = Constraint(metric="gap_acc", at_most=0.05)
LEAST_GAP = FurtherObjective(monitor="gap_acc", direction=Direction.MINIMIZE)


def objective(**changes: Any) -> Objective:
    """As much accuracy as possible."""
    fields: dict[str, Any] = {"monitor": "val_acc", "direction": Direction.MAXIMIZE, "gap_weight": 0.0}
    return Objective(**{**fields, "gap_tolerance": 0.0, **changes})


BOUNDED = objective(constraints=(GAP_BOUND,))
TWO = objective(further=(LEAST_GAP,))


def measured(
    number: int,
    *epochs: dict[str, float],
    of: Objective,
    state: TrialState = TrialState.COMPLETE,
    point: Hyperparameters | None = None,
    **changes: Any,
) -> FinishedTrial:
    """A trial whose epochs measured that."""
    fields: dict[str, Any] = {
        "key": f"trial-{number:04d}",
        "number": number,
        "stage": "coarse",
        "hyperparameters": point or {"x": float(number)},
        "seed": 0,
        "n_epochs": len(epochs),
        "horizon_epochs": 9,
        "epochs": tuple(
            EpochRecord(epoch=epoch, metrics=metrics, time_ms=0) for epoch, metrics in enumerate(epochs, start=1)
        ),
        "state": state,
        "started_ms": 0,
        "finished_ms": 1,
        **changes,
    }
    record = TrialRecord(**fields)
    return FinishedTrial(record=record, score=score(record, of))


def at(accuracy: float, gap: float, **metrics: float) -> dict[str, float]:
    """What an epoch measured."""
    return {"val_acc": accuracy, "gap_acc": gap, **metrics}

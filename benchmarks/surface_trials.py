"""Trainings on a surface as zeroin's own pieces see them: its ranges as a search space, a curve as a finished trial."""

from __future__ import annotations

from collections.abc import Sequence

from quality_surface import Number, Surface

from search.reward import score
from search.search_space import Dimension, Hyperparameters, IntLogRange, IntRange, LinearRange, LogRange, SearchSpace
from search.study_definition import Direction, Objective
from search.trial import EpochRecord, FinishedTrial, TrialRecord, TrialState

OBJECTIVE = Objective(monitor="val_acc", direction=Direction.MAXIMIZE, gap_weight=0.0, gap_tolerance=0.0)


def declared_space(surface: Surface) -> SearchSpace:
    """Return a surface's ranges as a search space, whose limits they are."""
    kinds = {"log": LogRange, "linear": LinearRange, "int": IntRange, "int_log": IntLogRange}
    ranges = {each.name: kinds[each.kind](low=each.low, high=each.high) for each in surface.ranges}
    return SearchSpace(dimensions=tuple(Dimension(name=name, range=each, limits=each) for name, each in ranges.items()))


def surface_point(point: Hyperparameters) -> dict[str, Number]:
    """Return a proposal as the surface takes it."""
    return {name: value for name, value in point.items() if not isinstance(value, str)}


def finished_trial(
    point: Hyperparameters,
    values: Sequence[float],
    *,
    number: int,
    stage: int,
    horizon_epochs: int,
    is_outside: bool = False,
) -> FinishedTrial:
    """Return a complete trial.

    Args:
        point: Its hyperparameters.
        values: What its epochs showed, at least one.
        number: Of the trial, and its seed.
        stage: Its stage's index.
        horizon_epochs: Epochs of a full training.
        is_outside: Whether it lies outside the stage's ranges on purpose.
    """
    epochs = tuple(
        EpochRecord(epoch=epoch, metrics={OBJECTIVE.monitor: value}, time_ms=0)
        for epoch, value in enumerate(values, start=1)
    )
    record = TrialRecord(
        key=str(number),
        number=number,
        stage=str(stage),
        hyperparameters=point,
        seed=number,
        n_epochs=len(values),
        horizon_epochs=horizon_epochs,
        is_outside=is_outside,
        epochs=epochs,
        state=TrialState.COMPLETE,
        started_ms=0,
        finished_ms=0,
    )
    return FinishedTrial(record=record, score=score(record, OBJECTIVE))

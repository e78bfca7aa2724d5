"""A small study as the tracker gets it, and what MLflow then holds of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.pruner_settings import NoPruning
from search.search_space import Choices, Dimension, LogRange, SearchSpace
from search.study_definition import (
    ClassSpec,
    Direction,
    NarrowRule,
    Objective,
    Resources,
    ScheduleHorizon,
    SearchStage,
    StudyDefinition,
)
from search.study_record import (
    NarrowedSpace,
    RangeChange,
    RangeDecision,
    ScoredTrial,
    StageOpening,
    StudyRecord,
    StudyState,
)
from search.tracking import MlflowTracker
from search.trial import EpochRecord, Score, TrialRecord, TrialState

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


METRICS = ("train_loss", "train_acc", "val_loss", "val_acc", "gap_acc", "learning_rate")
START_MS = 1_700_000_000_000
UID = "0a1b2c3d4e5f"


def space(high: float = 1.0) -> SearchSpace:
    """A learning rate up to `high` and an optimizer."""
    limits = LogRange(low=1e-7, high=10.0)
    return SearchSpace(
        dimensions=(
            Dimension(name="model.learning_rate", range=LogRange(low=1e-5, high=high), limits=limits),
            Dimension(
                name="model.optimizer", range=Choices(values=("sgd", "adamw")), limits=Choices(values=("sgd", "adamw"))
            ),
        )
    )


def definition(name: str = "digits") -> StudyDefinition:
    """A study of two stages; its tracking URI holds a password."""
    return StudyDefinition(
        study=name,
        seed=0,
        model=ClassSpec(class_path="lightning_modules.ConvNet"),
        data=None,
        trainer={},
        objective=Objective(monitor="val_acc", direction=Direction.MAXIMIZE, gap_weight=0.0, gap_tolerance=0.0),
        schedule_horizon=ScheduleHorizon.STUDY,
        space=space(),
        stages=tuple(
            SearchStage(name=stage, n_trials=2, max_epochs=3, sampler="random", narrow=NarrowRule(rule="none"))
            for stage in ("coarse", "fine")
        ),
        pruner=NoPruning(),
        early_stopping=None,
        resources=Resources(devices_per_trial=1, trials_per_device=1),
        finish=None,
        tracking_uri="postgresql://me:s3cret@db/mlflow",
    )


def trial(
    number: int = 0, *, n_epochs: int = 3, state: TrialState = TrialState.COMPLETE, **changes: Any
) -> TrialRecord:
    """A trial with a curve of every metric, none like that of another number."""
    started = START_MS + number * 10_000
    epochs = tuple(
        EpochRecord(
            epoch=epoch,
            metrics={name: (number + 1) * epoch / (7 + index) for index, name in enumerate(METRICS)},
            time_ms=started + epoch * 1000,
        )
        for epoch in range(1, n_epochs + 1)
    )
    record = TrialRecord(
        key=f"trial-{number:04d}",
        number=number,
        stage="coarse",
        hyperparameters={"model.learning_rate": 1e-05 * (number + 1), "model.optimizer": "sgd"},
        seed=number,
        n_epochs=3,
        horizon_epochs=3,
        epochs=epochs,
        state=state,
        started_ms=started,
        finished_ms=started + n_epochs * 1000 + 500 if state.is_finished else None,
    )
    return replace(record, **changes)


def score_of(record: TrialRecord) -> Score:
    """The score of a trial whose last epoch was its best."""
    best = record.curve("val_acc")[-1]
    return Score(reward=best - 0.125, best_value=best, best_epoch=len(record.epochs), gap_at_best=0.25)


def opening(index: int, *, high: float = 1.0) -> StageOpening:
    """The first or the second stage, with a learning rate up to `high`."""
    decision = RangeDecision(
        name="model.learning_rate",
        change=RangeChange.NARROWED,
        before="[1e-05, 1]",
        after=f"[1e-05, {high}]",
        reason="the best trials are there.",
        figures={"p_value": math.nan},
    )
    return StageOpening(
        index=index,
        name=("coarse", "fine")[index],
        narrowed=NarrowedSpace(space=space(high), decisions=(decision,)),
        first_trial_number=2 * index,
        time_ms=START_MS + index,
    )


def study_record(*records: TrialRecord, study: StudyDefinition) -> StudyRecord:
    """A running study whose second stage has begun."""
    return StudyRecord(
        definition=study,
        state=StudyState.RUNNING,
        openings=(opening(0), opening(1, high=0.1)),
        trials=tuple(ScoredTrial(record=record, score=score_of(record)) for record in records),
        result=None,
        storage="journal",
        tracking_uri="sqlite",
        directory="/nowhere",
    )


def new_tracker(
    uri: str,
    directory: Path,
    notices: list[str],
    *,
    study: StudyDefinition | None = None,
    uid: str = UID,
    **options: Any,
) -> MlflowTracker:
    """Return a tracker that says what the user should know to `notices`."""
    return MlflowTracker(
        tracking_uri=uri,
        artifact_root=directory / "artifacts",
        definition=study or definition(),
        study_uid=uid,
        tags={"zeroin.hardware.device": "cpu"},
        notify=notices.append,
        **options,
    )


@contextmanager
def tracking(
    uri: str, directory: Path, *, study: StudyDefinition | None = None, uid: str = UID, n_notices: int = 0
) -> Iterator[MlflowTracker]:
    """A tracker whose block ends with everything delivered."""
    notices: list[str] = []
    tracker = new_tracker(uri, directory, notices, study=study, uid=uid, flush_seconds=0.01)
    yield tracker
    assert tracker.close(timeout_seconds=60.0) == ()
    assert len(notices) == n_notices


def runs_of(client: MlflowClient, study: str = "digits") -> dict[str, Run]:
    """Runs by name; fails if a name is there twice."""
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=5000)
    by_name = {str(run.info.run_name): run for run in runs}
    assert len(by_name) == len(runs)
    return by_name


def contents(client: MlflowClient, study: str = "digits") -> dict[str, Any]:
    """All that MLflow knows of the study, without ids and without what depends on the wall clock."""
    found: dict[str, Any] = {}
    for name, run in runs_of(client, study).items():
        history = {
            key: sorted(
                (row.step, row.timestamp, repr(row.value)) for row in client.get_metric_history(run.info.run_id, key)
            )
            for key in run.data.metrics
        }
        tags = {key: text for key, text in run.data.tags.items() if key != "mlflow.parentRunId"}
        times = (run.info.start_time, run.info.end_time) if name != study else None
        found[name] = (run.info.status, times, tags, dict(run.data.params), history)
    return found

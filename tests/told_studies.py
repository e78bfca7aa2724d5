"""What the observer of a study of digits is told."""

from __future__ import annotations

from dataclasses import replace

from plain_study import halving_digits

from search.observer import StudyObserver
from search.range_text import range_text
from search.study_definition import StudyDefinition
from search.study_record import (
    NarrowedSpace,
    RangeChange,
    RangeDecision,
    ScoredTrial,
    StageOpening,
    StudyForecast,
    StudyRecord,
    StudyResult,
    StudyState,
)
from search.trial import EpochRecord, Score, TrialRecord, TrialState

DEFINITION = halving_digits()
N_EPOCHS_AT_MOST = 48 * 2 + 24 * 6 + 12 * 24 + (3 + 1) * 3 * 24


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def a_record(definition: StudyDefinition = DEFINITION, *, trials: tuple[ScoredTrial, ...] = ()) -> StudyRecord:
    return StudyRecord(
        definition=definition,
        state=StudyState.RUNNING,
        openings=(),
        trials=trials,
        result=None,
        storage="journal:///home/me/optuna.journal",
        tracking_uri="sqlite:////home/me/mlflow.db",
        directory="/home/me/trials/digits",
    )


def an_opening(index: int, *, first_trial_number: int = 0) -> StageOpening:
    decisions = tuple(
        RangeDecision(
            name=dimension.name,
            change=RangeChange.KEPT if index else RangeChange.DECLARED,
            before=range_text(dimension),
            after=range_text(dimension),
            reason="no evidence that it matters",
            figures={},
        )
        for dimension in DEFINITION.space
    )
    narrowed = NarrowedSpace(space=DEFINITION.space, decisions=decisions)
    name = DEFINITION.stages[index].name
    return StageOpening(index=index, name=name, narrowed=narrowed, first_trial_number=first_trial_number, time_ms=0)


def a_trial(number: int | None, *, stage: str = "coarse", n_epochs: int = 2, key: str = "") -> TrialRecord:
    return TrialRecord(
        key=key or f"trial-{number:04d}",
        number=number,
        stage=stage,
        hyperparameters={"model.optimizer": "sgd", "model.learning_rate": 0.01234},
        seed=0,
        n_epochs=n_epochs,
        horizon_epochs=24,
        started_ms=0,
    )


def with_epochs(record: TrialRecord, n_epochs: int, *, value: float = 0.9) -> TrialRecord:
    metrics = {"val_acc": value, "gap_acc": 0.0123}
    epochs = tuple(EpochRecord(epoch=e, metrics=metrics, time_ms=e) for e in range(1, n_epochs + 1))
    return replace(record, epochs=epochs)


def ended(
    record: TrialRecord, *, value: float, state: TrialState = TrialState.COMPLETE, reason: str = ""
) -> tuple[TrialRecord, Score | None]:
    done = replace(with_epochs(record, record.n_epochs, value=value), state=state, reason=reason, finished_ms=9)
    if state is TrialState.FAILED:
        return done, None
    return done, Score(reward=value, best_value=value, best_epoch=record.n_epochs, gap_at_best=0.0123)


def a_result() -> StudyResult:
    return StudyResult(
        best_trial_number=0,
        confirmations=(),
        refit_keys=(),
        refit_epochs=0,
        test_members=(),
        test_ensemble={},
        n_test_samples=0,
        n_test_readings=0,
        n_epochs={},
        notices=(),
        seconds=61.0,
        time_ms=0,
    )


FORECAST = StudyForecast(
    stage="coarse",
    stage_seconds=125.0,
    study_seconds=7500.0,
    device_seconds=15000.0,
    n_workers=2,
    left_out={"medium": 9, "fine": 1},
    finish_is_cut=True,
)


def tell_a_study(observer: StudyObserver) -> None:
    """Tell of a short study in which everything happens that can."""
    observer.study_opened(a_record(), resumed=False, n_workers=2)
    observer.stage_opened(an_opening(0))
    for number, value in enumerate((0.7, 0.9, 0.8)):
        observer.trial_started(a_trial(number))
        observer.epoch_finished(with_epochs(a_trial(number), 1, value=value))
        observer.trial_finished(*ended(a_trial(number), value=value))
    observer.forecast_made(FORECAST)
    for number in (3, 4):
        observer.trial_started(a_trial(number))
        reason = "RuntimeError: out of\n memory"
        observer.trial_finished(*ended(a_trial(number), value=0.0, state=TrialState.FAILED, reason=reason))
    observer.notice("worker 2 was lost")
    observer.stage_opened(an_opening(1, first_trial_number=5))
    observer.phase_started("confirm", n_runs=9, n_epochs=24)
    confirm = a_trial(None, stage="confirm", n_epochs=24, key="confirm-0001-seed0")
    observer.trial_started(confirm)
    observer.trial_finished(*ended(confirm, value=0.93))
    observer.phase_started("test", n_runs=1, n_epochs=0)
    observer.study_finished(a_record(), a_result())

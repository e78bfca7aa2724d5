"""Records of a study of digits, and what the command line shows of them."""

from __future__ import annotations

import io
import math
from dataclasses import replace

from rich.console import RenderableType

from search.cli.best import best_report
from search.cli.console import make_console, show
from search.cli.plan import plan_report
from search.cli.result_story import result_story
from search.cli.status import status_report
from search.cli.tables import opening_summary, ranges_reasons, ranges_story
from search.cli.trials_table import trials_table
from search.range_text import range_text
from search.search_space import LogRange, SearchSpace
from search.study_definition import StudyDefinition
from search.study_record import (
    Confirmation,
    NarrowedSpace,
    RangeChange,
    RangeDecision,
    ScoredTrial,
    StageOpening,
    StudyRecord,
    StudyResult,
    StudyState,
)
from search.trial import EpochRecord, Score, TrialRecord, TrialState

LONG_REASON = "RuntimeError: mat1 and mat2 shapes cannot be multiplied\n" * 40


def a_trial(
    definition: StudyDefinition,
    number: int,
    *,
    stage: int = 0,
    state: TrialState = TrialState.COMPLETE,
    value: float = 0.9,
    reason: str = "",
) -> ScoredTrial:
    space, settings = definition.space, definition.stages[stage]
    units = {name: (0.37 * (number + 1) + 0.11 * i) % 1.0 for i, name in enumerate(space.names)}
    n_epochs = 0 if state in (TrialState.FAILED, TrialState.RUNNING) else settings.max_epochs
    record = TrialRecord(
        key=f"trial-{number:04d}",
        number=number,
        stage=settings.name,
        hyperparameters=space.from_units(units),
        seed=number,
        n_epochs=settings.max_epochs,
        horizon_epochs=24,
        epochs=tuple(EpochRecord(epoch=e + 1, metrics={"val_acc": value}, time_ms=e) for e in range(n_epochs)),
        state=state,
        reason=reason,
        started_ms=1_700_000_000_000,
        finished_ms=None if state is TrialState.RUNNING else 1_700_000_012_300,
    )
    if state in (TrialState.FAILED, TrialState.RUNNING):
        return ScoredTrial(record=record, score=None)
    if state is TrialState.DIVERGED:
        score = Score(reward=-math.inf, best_value=math.nan, best_epoch=0, gap_at_best=math.nan)
    else:
        score = Score(reward=value, best_value=value, best_epoch=n_epochs, gap_at_best=0.0123)
    return ScoredTrial(record=record, score=score)


def openings(definition: StudyDefinition) -> tuple[StageOpening, ...]:
    declared = tuple(
        RangeDecision(
            name=dimension.name,
            change=RangeChange.DECLARED,
            before=range_text(dimension),
            after=range_text(dimension),
            reason="as declared",
            figures={},
        )
        for dimension in definition.space
    )
    narrowed_rate = replace(definition.space["model.learning_rate"], range=LogRange(low=0.00123, high=0.0456))
    dimensions = tuple(narrowed_rate if d.name == "model.learning_rate" else d for d in definition.space)
    narrowed = tuple(
        replace(
            decision,
            change=RangeChange.NARROWED if decision.name == "model.learning_rate" else RangeChange.KEPT,
            after=range_text(dimension),
            reason=f"the reason for {decision.name} (p = 0.0001, " + "with more and more figures, " * 6 + ")",
            figures={"p_value": 0.0001, "n_best": 12.0},
            cut_off=decision.name == "model.learning_rate",
        )
        for decision, dimension in zip(declared, dimensions, strict=True)
    )
    first = NarrowedSpace(space=definition.space, decisions=declared)
    second = NarrowedSpace(space=SearchSpace(dimensions=dimensions), decisions=narrowed)
    return (
        StageOpening(index=0, name="coarse", narrowed=first, first_trial_number=0, time_ms=0),
        StageOpening(index=1, name="medium", narrowed=second, first_trial_number=48, time_ms=1),
    )


def a_study_under_way(definition: StudyDefinition) -> StudyRecord:
    """One with a trial of every state, in its second stage."""
    trials = (
        a_trial(definition, 0, value=0.91),
        a_trial(definition, 1, state=TrialState.DIVERGED, reason="train_loss became nan"),
        a_trial(definition, 2, state=TrialState.FAILED, reason=LONG_REASON),
        a_trial(definition, 3, state=TrialState.PRUNED, value=0.95, reason="below the median"),
        a_trial(definition, 4, state=TrialState.STOPPED_EARLY, value=0.9345, reason="flat for 5 epochs"),
        a_trial(definition, 5, state=TrialState.RUNNING),
        a_trial(definition, 6, state=TrialState.INTERRUPTED, value=0.2, reason="the coordinator was stopped"),
        a_trial(definition, 48, stage=1, value=0.92),
    )
    return StudyRecord(
        definition=definition,
        state=StudyState.UNFINISHED,
        openings=openings(definition),
        trials=trials,
        result=None,
        storage="journal:///home/me/mlruns/optuna.journal",
        tracking_uri="sqlite:////home/me/mlruns/mlflow.db",
        directory="/home/me/mlruns/trials/digits",
    )


def with_a_result(record: StudyRecord) -> StudyRecord:
    """The same, confirmed, refitted and tested."""
    result = StudyResult(
        best_trial_number=48,
        confirmations=(
            Confirmation(
                trial_number=48,
                rewards=(0.981, 0.983),
                best_epochs=(20, 22),
                mean=0.982,
                eliminated_after=None,
                interval=(0.97, 0.99),
            ),
            Confirmation(trial_number=4, rewards=(0.961,), best_epochs=(20,), mean=0.961, eliminated_after=1),
        ),
        refit_keys=("refit-seed0", "refit-seed1"),
        refit_epochs=21,
        test_members=({"test_acc": 0.975, "test_loss": 0.1}, {"test_acc": 0.985, "test_loss": math.nan}),
        test_ensemble={"test_acc": 0.9888},
        n_test_samples=540,
        n_test_readings=1,
        n_epochs={"coarse": 96, "confirm": 1144, "refit": 42},
        notices=("the ensemble averages probabilities",),
        seconds=125.0,
        time_ms=2,
    )
    return replace(record, state=StudyState.FINISHED, result=result)


def text_of(part: RenderableType, *, width: int = 80) -> str:
    """What a terminal shows."""
    file = io.StringIO()
    show(make_console(file=file, width=width), part)
    return file.getvalue()


def every_report(record: StudyRecord, *, width: int) -> list[RenderableType]:
    """All that the command line shows of a study."""
    return [
        trials_table(record, record.trials, width=width),
        ranges_story(record, width=width),
        ranges_reasons(record),
        status_report(record, width=width),
        best_report(record, width=width),
        result_story(record, width=width),
        plan_report(record.definition),
        *(opening_summary(opening, width=width) for opening in record.openings[1:]),
    ]

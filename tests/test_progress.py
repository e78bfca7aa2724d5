from __future__ import annotations

import io
import math
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_study import halving_digits
from rich.console import Console

from search.cli.console import make_console
from search.cli.forecast_words import forecast_line
from search.cli.progress_live import LiveProgress
from search.cli.progress_plain import PlainProgress, opening_line
from search.cli.progress_state import StudyProgress
from search.cli.progress_view import progress_lines
from search.observer import StudyObserver
from search.range_text import range_text
from search.study_definition import Budget, StudyDefinition
from search.study_record import (
    NarrowedSpace,
    RangeChange,
    RangeDecision,
    ScoredTrial,
    Spent,
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


# ---- what is known ---------------------------------------------------------------------------------------------------


def test_before_anything_ran_all_epochs_are_left() -> None:
    clock = Clock()
    progress = StudyProgress(now=clock)
    progress.open(a_record())
    assert math.isnan(progress.seconds_left)
    progress.start(a_trial(0))
    for epoch in range(1, 5):
        clock.seconds += 0.5
        progress.advance(with_epochs(a_trial(0, n_epochs=9), epoch))
    assert progress.epochs_per_second == pytest.approx(2.0)
    assert progress.seconds_left == pytest.approx((N_EPOCHS_AT_MOST - 4) / 2.0)


def test_what_a_promoted_trial_took_over_is_no_part_of_the_time_left() -> None:
    clock = Clock()
    progress = StudyProgress(now=clock)
    progress.open(a_record())
    progress.start(a_trial(0))
    for epoch in range(1, 5):
        clock.seconds += 0.5
        progress.advance(with_epochs(a_trial(0, n_epochs=9), epoch))
    before = progress.seconds_left
    promoted = replace(a_trial(1, stage="fine", n_epochs=24), continues="trial-0000", n_taken_over=2)
    progress.start(with_epochs(promoted, 2))
    assert progress.seconds_left == before
    assert "3/24" not in "".join(line.plain for line in progress_lines(progress, width=110, height=40))
    clock.seconds += 0.5
    progress.advance(with_epochs(promoted, 3))
    assert progress.seconds_left == pytest.approx(before - 1.0 / 2.0)
    assert "3/24" in "".join(line.plain for line in progress_lines(progress, width=110, height=40))


def test_stages_that_a_budget_cut_short_are_over_and_time_left_ends_with_it() -> None:
    clock = Clock()
    progress = StudyProgress(now=clock)
    budget = Budget(hours=0.01)
    progress.open(replace(a_record(replace(DEFINITION, budget=budget)), spent=Spent(wall_seconds=16.0)))
    progress.start(a_trial(0))
    for epoch in range(1, 5):
        clock.seconds += 0.5
        progress.advance(with_epochs(a_trial(0, n_epochs=9), epoch))
    assert progress.seconds_left == pytest.approx(36.0 - 16.0 - 2.0)
    progress.finish(*ended(a_trial(0), value=0.5))
    progress.start(a_trial(1))
    progress.open_stage(an_opening(1, first_trial_number=2))
    assert [stage.n_runs for stage in progress.stages] == [2, 24, 12]


@pytest.mark.parametrize(
    ("budget", "left", "share"),
    [
        (Budget(epochs=100), 96.0 / 2.0 + 288.0 / 2.0, 0.04),
        (Budget(hours=0.01), 36.0 - 2.0, 2.0 / 36.0),
        (Budget(device_hours=1.0), math.nan, 0.0),
        (Budget(n_trials=190), (48 * 2 + 24 * 6 + 118 * 24 + 288 - 4) / 2.0, 0.0),
    ],
)
def test_an_open_stage_is_as_far_as_its_budget(budget: Budget, left: float, share: float) -> None:
    clock = Clock()
    progress = StudyProgress(now=clock)
    *earlier, last = DEFINITION.stages
    opened = replace(DEFINITION, stages=(*earlier, replace(last, n_trials=None)), budget=budget)
    progress.open(a_record(opened))
    progress.start(a_trial(0))
    for epoch in range(1, 5):
        clock.seconds += 0.5
        progress.advance(with_epochs(a_trial(0, n_epochs=9), epoch))
    assert progress.seconds_left == pytest.approx(left, nan_ok=True)
    assert progress.share_done(progress.stages[-1]) == pytest.approx(share)
    text = "\n".join(line.plain for line in progress_lines(progress, width=110, height=40))
    assert "None" not in text and "0/48" in text and "0/12" not in text
    line = opening_line(a_record(opened), resumed=False, n_workers=2)
    assert line.startswith("study digits: as many trials as ") and line.endswith(" 2 workers")
    assert "resumed, 0 trials are done" in opening_line(a_record(opened), resumed=True, n_workers=2)


def test_stages_that_a_budget_cut_short_in_an_earlier_session_are_over_too() -> None:
    progress = StudyProgress(now=Clock())
    begun = tuple(an_opening(index, first_trial_number=first) for index, first in enumerate((0, 20, 29)))
    progress.open(replace(a_record(), openings=begun))
    assert [stage.n_runs for stage in progress.stages] == [20, 9, 12]
    assert all(stage.is_open for stage in progress.stages)


@pytest.mark.parametrize(
    ("forecast", "budget", "end"),
    [
        (FORECAST, Budget(), "the study at most about 2 h 5 min"),
        (
            FORECAST,
            Budget(hours=2.0),
            "; the budget of 2 hours will leave out about 9 trials of medium, 1 trial of fine and part of the finish",
        ),
        (replace(FORECAST, left_out={}, finish_is_cut=False), Budget(n_trials=9), ", within the budget of 9 trials"),
    ],
)
def test_a_forecast_in_words(forecast: StudyForecast, budget: Budget, end: str) -> None:
    line = forecast_line(forecast, budget)
    assert line.startswith("forecast for 2 workers: stage coarse takes about 2 min 5 s more, the study")
    assert line.endswith(end)


def test_nothing_is_left_when_the_last_phase_is_done() -> None:
    clock = Clock()
    progress = StudyProgress(now=clock)
    progress.open(a_record())
    progress.start(a_trial(0))
    progress.open_phase("confirm", n_runs=9, n_epochs=24)
    progress.open_phase("refit", n_runs=1, n_epochs=24)
    for _ in range(5):
        progress.advance(a_trial(0))
    progress.finish(*ended(a_trial(0), value=0.5))
    progress.finish(*ended(a_trial(None, stage="refit", n_epochs=24, key="refit-seed0"), value=0.5))
    clock.seconds += 10.0
    assert progress.seconds_left == 0.0


@given(
    values=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30),
    states=st.lists(
        st.sampled_from([TrialState.COMPLETE, TrialState.STOPPED_EARLY, TrialState.PRUNED, TrialState.DIVERGED]),
        min_size=30,
        max_size=30,
    ),
)
def test_the_best_is_the_best_of_the_trials_that_may_win(values: list[float], states: list[TrialState]) -> None:
    progress = StudyProgress(now=Clock())
    progress.open(a_record())
    for number, (value, state) in enumerate(zip(values, states, strict=False)):
        progress.start(a_trial(number))
        progress.finish(*ended(a_trial(number), value=value, state=state))
    eligible = [v for v, s in zip(values, states, strict=False) if s in (TrialState.COMPLETE, TrialState.STOPPED_EARLY)]
    best = None if progress.best is None or progress.best.score is None else progress.best.score.reward
    assert best == max(eligible, default=None)
    assert progress.n_finished == len(values)
    assert not progress.running


def test_less_is_better_when_minimizing() -> None:
    objective = replace(DEFINITION.objective, direction=type(DEFINITION.objective.direction)("minimize"))
    progress = StudyProgress(now=Clock())
    progress.open(a_record(replace(DEFINITION, objective=objective)))
    assert progress.finish(*ended(a_trial(0), value=0.5))
    assert progress.finish(*ended(a_trial(1), value=0.4))
    assert not progress.finish(*ended(a_trial(2), value=0.6))


def test_a_resumed_study_begins_where_it_was() -> None:
    record, score = ended(a_trial(0), value=0.8)
    interrupted = replace(with_epochs(a_trial(1), 1), state=TrialState.INTERRUPTED)
    progress = StudyProgress(now=Clock())
    progress.open(
        a_record(trials=(ScoredTrial(record=record, score=score), ScoredTrial(record=interrupted, score=None)))
    )
    assert progress.n_finished == 1
    assert progress.best is not None and progress.best.record.number == 0


def test_an_interrupted_trial_is_neither_running_nor_finished() -> None:
    progress = StudyProgress(now=Clock())
    progress.open(a_record())
    progress.start(a_trial(0))
    record, score = ended(a_trial(0), value=0.8, state=TrialState.INTERRUPTED)
    assert not progress.finish(record, score)
    assert (progress.n_finished, progress.running, progress.best) == (0, {}, None)


# ---- what is drawn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("n_running", [0, 1, 50])
def test_no_line_is_longer_and_no_view_higher_than_the_terminal(width: int, n_running: int) -> None:
    progress = StudyProgress(now=Clock())
    progress.open(a_record())
    progress.open_stage(an_opening(0))
    progress.finish(*ended(a_trial(999), value=0.9))
    for number in range(n_running):
        progress.start(with_epochs(a_trial(number), 1))
    lines = progress_lines(progress, width=width, height=24)
    assert len(lines) <= 24
    assert all(line.cell_len <= width for line in lines)
    text = "\n".join(line.plain for line in lines)
    assert "1/48" in text
    assert ("more" in text) == (n_running == 50)


def test_a_view_shows_stage_running_best_and_time() -> None:
    clock = Clock()
    progress = StudyProgress(now=clock)
    progress.open(a_record())
    progress.finish(*ended(a_trial(7), value=0.8765))
    progress.finish(*ended(a_trial(8), value=0.0, state=TrialState.FAILED))
    progress.start(a_trial(12))
    for epoch in range(1, 6):
        clock.seconds += 1.0
        progress.advance(with_epochs(a_trial(12, n_epochs=6), epoch, value=0.6543))
    text = "\n".join(line.plain for line in progress_lines(progress, width=110, height=40))
    for words in ("2/48", "1 running", "1 failed", "#12", "epoch   5/6", "0.6543", "+0.0123", "learning_rate 0.01234"):
        assert words in text, text
    for words in ("#7  val_acc 0.8765 at epoch 2", "0:00:05", "1.0 epochs/s", "left"):
        assert words in text, text


# ---- the observers ---------------------------------------------------------------------------------------------------


def test_plain_lines_tell_everything_once() -> None:
    file = io.StringIO()
    with PlainProgress(stream=file, now=Clock()) as progress:
        tell_a_study(progress)
    lines = [line.removeprefix("[0:00:00] ") for line in file.getvalue().splitlines()]
    assert lines[0] == "study digits: 84 trials, 2 workers"
    assert "coarse 1/48 #0: complete, epoch 2/2, val_acc 0.7000, gap +0.0123 (best so far)" in lines
    assert "coarse 2/48 #1: complete, epoch 2/2, val_acc 0.9000, gap +0.0123 (best so far)" in lines
    assert "coarse 3/48 #2: complete, epoch 2/2, val_acc 0.8000, gap +0.0123" in lines
    assert "coarse 4/48 #3: failed, epoch 2/2, RuntimeError: out of memory" in lines
    assert "note: worker 2 was lost" in lines
    assert lines.count(forecast_line(FORECAST, Budget())) == 1
    assert "  model.dropout: kept 0 or [0.01, 0.8]: no evidence that it matters" in lines
    assert "confirm 1/9 confirm-0001-seed0: complete, epoch 24/24, val_acc 0.9300, gap +0.0123" in lines
    assert lines[-1] == "study digits: finished after 1 min 1 s"
    assert progress.was_opened


@pytest.mark.parametrize("is_live", [False, True])
def test_the_seconds_before_a_study_opens_are_not_silent(is_live: bool) -> None:
    file = io.StringIO()
    with LiveProgress(console=a_terminal(file)) if is_live else PlainProgress(stream=file, now=Clock()) as progress:
        progress.checking()
    assert file.getvalue().count("checking the model and the data") == 1
    assert not progress.was_opened


class ClosedPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def a_terminal(file: io.StringIO, *, width: int = 80) -> Console:
    return make_console(file=file, width=width, height=30, is_terminal=True)


@pytest.mark.parametrize(
    "make",
    [lambda: PlainProgress(stream=ClosedPipe()), lambda: LiveProgress(console=a_terminal(ClosedPipe()))],
    ids=["plain", "live"],
)
def test_an_output_that_is_gone_does_not_end_the_study(make) -> None:
    with make() as progress:
        tell_a_study(progress)


def test_the_live_display_leaves_the_story_and_takes_the_bars_away() -> None:
    file = io.StringIO()
    before = threading.active_count()
    with LiveProgress(console=a_terminal(file)) as progress:
        tell_a_study(progress)
    assert threading.active_count() == before
    told = file.getvalue()
    for words in ("study digits: 84 trials", "sampler qmc", "worker 2 was lost", "reading the test split once"):
        assert told.count(words) == 1, words
    assert told.count("out of memory") == 1  # the second trial failed for the same reason
    assert told.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in told  # the cursor is back
    assert "\x1b[2K" in told[told.rindex("reading the test split once") :]  # the live lines are erased


def test_a_study_that_is_only_read_draws_nothing() -> None:
    file = io.StringIO()
    with LiveProgress(console=a_terminal(file)) as progress:
        pass
    assert not progress.was_opened
    assert "study" not in file.getvalue()


def test_an_interrupted_study_leaves_its_last_view() -> None:
    file = io.StringIO()
    with pytest.raises(KeyboardInterrupt), LiveProgress(console=a_terminal(file)) as progress:
        progress.study_opened(a_record(), resumed=True, n_workers=1)
        progress.trial_started(a_trial(5))
        raise KeyboardInterrupt
    last = file.getvalue()
    assert "resumed, 0 of 84 trials are done" in last
    assert "#5" in last[last.rindex("coarse") :]

"""What is known of a running study, from what its observer is told."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from told_studies import (
    DEFINITION,
    FORECAST,
    N_EPOCHS_AT_MOST,
    Clock,
    a_record,
    a_trial,
    an_opening,
    ended,
    with_epochs,
)

from search.cli.forecast_words import forecast_line
from search.cli.progress_plain import opening_line
from search.cli.progress_state import StudyProgress
from search.cli.progress_view import progress_lines
from search.study_definition import Budget
from search.study_record import (
    ScoredTrial,
    Spent,
    StudyForecast,
)
from search.trial import TrialState


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
    clock.seconds += 99.0
    assert share <= progress.share_done(progress.stages[-1]) <= 1.0
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

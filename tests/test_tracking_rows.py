from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.study_definition import Direction, NarrowRule, Objective, SearchStage
from search.study_record import ScoredTrial
from search.tracking.study_rows import stage_best_rows
from search.tracking.trial_rows import epoch_rows, metric_key, parameters, state_tags, status, summary_rows
from search.trial import EpochRecord, Score, TrialRecord, TrialState

STAGE = SearchStage(name="coarse", n_trials=2, max_epochs=3, sampler="random", narrow=NarrowRule(rule="none"))


def record_of(*curves: float, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    return TrialRecord(
        key="trial-0000",
        number=0,
        stage="coarse",
        hyperparameters={"a": 1e-05, "b": 3, "c": "sgd", "d": True},
        seed=0,
        n_epochs=9,
        horizon_epochs=9,
        epochs=tuple(
            EpochRecord(epoch=index, metrics={"val_acc": value}, time_ms=100 + index)
            for index, value in enumerate(curves, start=1)
        ),
        state=state,
        started_ms=100,
    )


@given(st.text())
def test_every_metric_name_becomes_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import path_not_unique, validate_param_and_metric_name

    key = metric_key(name)
    assert 0 < len(key) <= 250
    assert validate_param_and_metric_name(key)
    assert not path_not_unique(key)
    assert metric_key(key) == key


@pytest.mark.parametrize("name", ["val_acc", "val/acc", "val acc", "val-acc", "val_loss/dataloader_idx_0", "a:b"])
def test_acceptable_names_stay(name: str) -> None:
    assert metric_key(name) == name


@given(
    st.lists(st.floats(), max_size=6),
    st.integers(min_value=0, max_value=6),
)
def test_epochs_split_anywhere_give_the_same_rows(curve: list[float], split: int) -> None:
    whole = record_of(*curve)
    first = replace(whole, epochs=whole.epochs[:split])
    pieces = epoch_rows(first, after_epoch=0) + epoch_rows(whole, after_epoch=split)
    assert [repr(row) for row in pieces] == [repr(row) for row in epoch_rows(whole, after_epoch=0)]
    assert [row.step for row in pieces] == [i for i, value in enumerate(curve, start=1) if not math.isinf(value)]


def test_parameters_keep_every_digit() -> None:
    assert parameters(record_of()) == {"a": "1e-05", "b": "3", "c": "sgd", "d": "True"}


@given(st.floats(), st.floats(), st.integers(min_value=0, max_value=5), st.floats())
def test_summaries_are_finite_and_only_of_finished_trials(reward: float, value: float, epoch: int, gap: float) -> None:
    score = Score(reward=reward, best_value=value, best_epoch=epoch, gap_at_best=gap)
    assert summary_rows(record_of(0.5, state=TrialState.RUNNING), score, monitor="val_acc") == []
    rows = summary_rows(record_of(0.5, 0.6), score, monitor="val_acc")
    assert all(math.isfinite(row.value) and row.step == 2 for row in rows)
    expected = {"best_val_acc": value, "gap_acc_at_best": gap, "reward": reward}
    assert {row.key: row.value for row in rows if row.key != "best_epoch"} == {
        name: number for name, number in expected.items() if math.isfinite(number)
    }
    assert [row.value for row in rows if row.key == "best_epoch"] == ([float(epoch)] if epoch else [])


def test_the_end_is_the_last_sign_of_life() -> None:
    assert record_of().latest_ms == 100
    assert record_of(0.1, 0.2).latest_ms == 102
    assert replace(record_of(0.1), finished_ms=500).latest_ms == 500


def test_a_run_is_over_exactly_when_the_trial_is_not_running() -> None:
    assert [state for state in TrialState if status(state) == "RUNNING"] == [TrialState.RUNNING]


def test_a_long_reason_fits_into_a_tag() -> None:
    assert len(state_tags("failed", "x" * 100_000)["zeroin.reason"]) <= 5000


@pytest.mark.parametrize(("direction", "best"), [(Direction.MAXIMIZE, 0.9), (Direction.MINIMIZE, 0.2)])
def test_a_stage_has_its_best_from_the_moment_of_its_last_trial(direction: Direction, best: float) -> None:
    trials = [
        ScoredTrial(record=replace(record_of(value), finished_ms=when), score=_score(value))
        for value, when in ((0.9, 700), (0.2, 600))
    ]
    objective = _objective(direction)
    assert stage_best_rows(1, [], objective=objective) == []
    rows = stage_best_rows(1, trials, objective=objective)
    assert {row.key: row.value for row in rows} == {"stages/best_val_acc": best, "stages/best_reward": best}
    assert {(row.step, row.time_ms) for row in rows} == {(1, 700)}


def test_failed_and_diverged_trials_finish_a_stage_without_being_its_best() -> None:
    failed = ScoredTrial(record=record_of(state=TrialState.FAILED), score=None)
    diverged = ScoredTrial(record=record_of(state=TrialState.DIVERGED), score=_score(-math.inf))
    assert stage_best_rows(1, [failed, diverged], objective=_objective(Direction.MAXIMIZE)) == []
    good = ScoredTrial(record=record_of(0.5), score=_score(0.5))
    rows = stage_best_rows(1, [failed, good], objective=_objective(Direction.MAXIMIZE))
    assert {row.value for row in rows} == {0.5}


def _objective(direction: Direction) -> Objective:
    return Objective(monitor="val_acc", direction=direction, gap_weight=0.0, gap_tolerance=0.0)


def _score(value: float) -> Score:
    return Score(reward=value, best_value=value, best_epoch=1, gap_at_best=0.0)

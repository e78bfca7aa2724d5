"""Budgets, edited studies and failure streaks in whole studies, with real stores and virtual workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from plain_study import BELL
from study_runs import Listener, run_session
from virtual_engine import EPOCH_SECONDS, Faults, KilledError, VirtualEngine

from search.coordinator.stores import default_storage
from search.engines.engine import EngineEvent, MessageReceived
from search.errors import StudyConflictError, StudyFailedError
from search.messages import TrialEnded
from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain, with_overrides
from search.study_record import StudyRecord, StudyState
from search.trial import TrialState

PLAIN: Mapping[str, Any] = {
    **BELL,
    "stages": [
        {"name": "coarse", "n_trials": 16, "max_epochs": 2, "sampler": "qmc"},
        {"name": "fine", "n_trials": 6, "max_epochs": 4, "sampler": "random"},
    ],
    "finish": {"top_k": 2, "n_seeds": 2, "ensemble": True},
}
TRACEBACK = (
    'Traceback (most recent call last):\n  File "/home/me/net.py", line 7, in forward\n    x\nValueError: no such layer'
)


class TracedEngine(VirtualEngine):
    """What raises has a traceback."""

    def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
        return [_with_traceback(event) for event in super().poll(timeout_seconds=timeout_seconds)]


def _with_traceback(event: EngineEvent) -> EngineEvent:
    if isinstance(event, MessageReceived) and isinstance(event.message, TrialEnded) and event.message.error:
        return replace(event, message=replace(event.message, traceback=TRACEBACK))
    return event


def definition(**changes: Any) -> StudyDefinition:
    return definition_from_plain({**PLAIN, **changes})


def run(
    state: StateDirectory, engine: TracedEngine, study: StudyDefinition, observer: Listener | None = None
) -> StudyRecord:
    return run_session(state, engine, study, observer=observer, clock=lambda: engine.seconds)


def n_by_stage(record: StudyRecord) -> tuple[int, int]:
    stages = [each.record.stage for each in record.trials]
    return stages.count("coarse"), stages.count("fine")


def optuna_states(state: StateDirectory) -> set[str]:
    backend = optuna.storages.journal.JournalFileBackend(default_storage(state).removeprefix("journal://"))
    study = optuna.load_study(study_name="bell", storage=optuna.storages.JournalStorage(backend))
    return {trial.state.name for trial in study.trials}


@pytest.mark.parametrize(
    ("budget", "n_slots"),
    [
        ({"hours": 0.75}, 1),
        pytest.param({"hours": 0.2}, 1, marks=pytest.mark.slow),
        pytest.param({"hours": 0.3}, 4, marks=pytest.mark.slow),
        pytest.param({"device_hours": 0.6}, 4, marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("untracked")
def test_a_budget_of_time_is_kept_and_every_stage_and_the_finish_have_their_part(
    state: StateDirectory, budget: dict[str, float], n_slots: int
) -> None:
    record = run(state, TracedEngine(n_slots=n_slots), definition(budget=budget))
    result = record.result
    assert record.state is StudyState.FINISHED and result is not None
    spent_hours = {"hours": result.seconds / 3600.0, "device_hours": result.device_seconds / 3600.0}
    assert all(0.5 * hours < spent_hours[name] <= hours for name, hours in budget.items())
    assert all(0 < n < planned for n, planned in zip(n_by_stage(record), (16, 7), strict=True))
    assert result.refit_keys and result.n_test_readings == 1
    assert "did not reach for all" in result.notices[0]
    assert not {each.record.state for each in record.trials} & {TrialState.FAILED, TrialState.RUNNING}


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_budget_that_suffices_changes_nothing(state: StateDirectory) -> None:
    record = run(state, TracedEngine(), definition(budget={"hours": 3.0, "device_hours": 3.0, "n_trials": 22}))
    assert n_by_stage(record) == (16, 6)
    assert record.result is not None
    assert record.result.notices == ()
    assert record.result.n_epochs["refit"] == 8


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_of_the_smallest_budget_there_is_still_a_result(state: StateDirectory) -> None:
    record = run(state, TracedEngine(), definition(budget={"hours": 0.001}))
    (trial,) = record.trials
    assert trial.record.state is TrialState.STOPPED
    assert "budget used up" in trial.record.reason
    assert record.result is not None
    assert (record.result.best_trial_number, record.result.n_test_readings) == (0, 1)
    assert optuna_states(state) == {"PRUNED"}


@pytest.mark.usefixtures("untracked")
def test_a_budget_of_trials_is_the_same_whatever_happens(tmp_path: Path) -> None:
    results = []
    for killed_after in (None, 31):
        state = StateDirectory(root=tmp_path / str(killed_after))
        checkpoints: dict[str, int] = {}
        study = definition(budget={"n_trials": 9})
        if killed_after is not None:
            with pytest.raises(KilledError):
                run(state, TracedEngine(checkpoints=checkpoints, faults=Faults(killed_after_polls=killed_after)), study)
        record = run(state, TracedEngine(checkpoints=checkpoints), study)
        results.append([(each.record.stage, dict(each.record.hyperparameters)) for each in record.trials])
    assert results[0] == results[1]
    assert [stage for stage, _ in results[0]] == ["coarse"] * 6 + ["fine"] * 3


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_what_has_been_spent_outlives_a_kill(state: StateDirectory) -> None:
    checkpoints: dict[str, int] = {}
    study = definition(budget={"hours": 0.75})
    first = TracedEngine(checkpoints=checkpoints, faults=Faults(killed_after_polls=25))
    with pytest.raises(KilledError):
        run(state, first, study)
    assert first.seconds > 10 * EPOCH_SECONDS
    second = TracedEngine(checkpoints=checkpoints)
    record = run(state, second, study)
    assert record.spent.wall_seconds == pytest.approx(first.seconds + second.seconds, abs=2 * EPOCH_SECONDS)
    assert record.spent.wall_seconds <= 0.75 * 3600.0
    assert record.spent.n_epochs == pytest.approx(len(first.trained) + len(second.trained), abs=2)


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_forecast_is_made_once_a_stage_and_says_what_will_be_left_out(state: StateDirectory) -> None:
    listener = Listener()
    run(state, TracedEngine(), definition(budget={"n_trials": 12}), listener)
    assert [each.stage for each in listener.forecasts] == ["coarse", "fine"]
    assert dict(listener.forecasts[0].left_out) == {"coarse": 8, "fine": 2}
    assert listener.forecasts[0].study_seconds > listener.forecasts[1].study_seconds > 0.0


def kill_in_the_last_stage(state: StateDirectory, checkpoints: dict[str, int], study: StudyDefinition) -> None:
    with pytest.raises(KilledError):
        run(state, TracedEngine(checkpoints=checkpoints, faults=Faults(killed_after_polls=62)), study)
    record = read_study("bell", directory=state)
    assert len(record.openings) == 2 and record.result is None and not record.finish_has_begun


@pytest.mark.slow
def test_more_trials_are_taken_recorded_and_told(state: StateDirectory) -> None:
    import mlflow

    checkpoints: dict[str, int] = {}
    kill_in_the_last_stage(state, checkpoints, definition())
    listener = Listener()
    grown = with_overrides(definition(), ["stages.fine.n_trials=8", "budget.hours=9"])
    record = run(state, TracedEngine(checkpoints=checkpoints), grown, listener)
    assert n_by_stage(record) == (16, 8)
    assert record.definition == grown == read_study("bell", directory=state).definition
    lines = [
        "stages.1.n_trials: 6 -> 8",
        "budget: none -> {hours: 9.0, device_hours: none, n_trials: none, epochs: none}",
    ]
    assert [line for line in listener.notices if "changed" in line] == [
        f"the study's definition has changed: {line}" for line in lines
    ]
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{state.mlflow_database}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "bell"]
    (parent,) = client.search_runs([experiment.experiment_id], filter_string="tags.`zeroin.study` = 'bell'")
    assert parent.data.tags["zeroin.edits"].splitlines() == lines
    assert parent.data.metrics["spent/hours"] == pytest.approx(record.spent.wall_seconds / 3600.0, rel=0.05)
    assert parent.data.metrics["spent/device_hours"] > 0.0
    (file,) = (state.artifacts).rglob("study.yaml")
    assert "hours: 9.0" in file.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_an_unsafe_edit_changes_nothing(state: StateDirectory) -> None:
    checkpoints: dict[str, int] = {}
    kill_in_the_last_stage(state, checkpoints, definition())
    edited = with_overrides(definition(), ["stages.coarse.n_trials=17", "stages.fine.n_trials=9"])
    with pytest.raises(StudyConflictError, match=r"16 -> 17\n.*stage coarse is over(.|\n)*6 -> 9\n.*could be taken"):
        run(state, TracedEngine(checkpoints=checkpoints), edited)
    record = run(state, TracedEngine(checkpoints=checkpoints), definition())
    assert (record.definition, n_by_stage(record)) == (definition(), (16, 6))


@pytest.mark.slow
def test_an_error_in_every_trial_is_shown_and_a_mended_study_goes_on(state: StateDirectory) -> None:
    raising = Faults(raises={f"trial-{number:04d}" for number in range(99)})
    for n_failed in (3, 6):  # and it stops as soon again while nothing is mended
        with pytest.raises(StudyFailedError, match=r"all 3 trials so far have failed(.|\n)*net\.py(.|\n)*resume bell"):
            run(state, TracedEngine(faults=raising), definition())
        assert len(read_study("bell", directory=state).trials) == n_failed
    record = run(state, TracedEngine(), definition())
    assert record.state is StudyState.FINISHED
    states = [each.record.state is TrialState.FAILED for each in record.trials]
    assert states == [True] * 6 + [False] * 16
    assert record.trials[0].record.traceback == TRACEBACK


@pytest.mark.slow
@pytest.mark.parametrize(("before", "n_in_a_row"), [((), 5), ((2,), 9)])
@pytest.mark.usefixtures("untracked")
def test_an_error_that_sets_in_later_stops_the_study_after_a_row_of_them(
    state: StateDirectory, before: tuple[int, ...], n_in_a_row: int
) -> None:
    raising = Faults(raises={f"trial-{number:04d}" for number in (*before, *range(8, 22))})
    with pytest.raises(StudyFailedError, match=f"{n_in_a_row} trials in a row have failed in the same way"):
        run(state, TracedEngine(faults=raising), definition())
    assert len(read_study("bell", directory=state).trials) == 8 + n_in_a_row
    record = run(state, TracedEngine(), definition())
    assert (record.state, n_by_stage(record)) == (StudyState.FINISHED, (16, 6))


@pytest.mark.slow
def test_the_best_of_a_stage_without_a_number_of_trials_is_told_when_the_search_is_over(state: StateDirectory) -> None:
    import mlflow

    opened = {key: value for key, value in PLAIN["stages"][1].items() if key != "n_trials"}
    record = run(state, TracedEngine(), definition(stages=[PLAIN["stages"][0], opened], budget={"epochs": 70}))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{state.mlflow_database}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "bell"]
    (parent,) = client.search_runs([experiment.experiment_id], filter_string="tags.`zeroin.study` = 'bell'")
    told = client.get_metric_history(parent.info.run_id, "stages/best_reward")
    assert [each.step for each in told] == [1, 2]
    rewards = [each.score.reward for each in record.trials if each.record.stage == "fine" and each.score is not None]
    assert told[1].value == pytest.approx(max(rewards))
    assert n_by_stage(record)[1] == (70 - 16 * 2 + 3) // 4

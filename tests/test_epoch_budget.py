"""A budget in epochs, and a last stage that has as many trials as a budget allows, in whole studies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from plain_study import BELL
from study_runs import Listener, run_session
from test_stage_overlap import UnevenEngine
from virtual_engine import Faults, KilledError, VirtualEngine

from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain, with_overrides
from search.study_record import StudyRecord, StudyState
from search.trial import TrialState

pytestmark = pytest.mark.usefixtures("untracked")

COUNTED: Mapping[str, Any] = {
    **BELL,
    "stages": [
        {"name": "coarse", "n_trials": 8, "max_epochs": 2, "sampler": "qmc"},
        {"name": "fine", "n_trials": 4, "max_epochs": 4, "sampler": "random", "promote": 2},
    ],
    "pruner": {"name": "median", "n_startup_trials": 3, "n_warmup_epochs": 1},
}
OPEN: Mapping[str, Any] = {
    **COUNTED,
    "stages": [
        COUNTED["stages"][0],
        {"name": "full", "max_epochs": 4, "sampler": "tpe", "promote": 2},
    ],
}
FINISH = {"finish": {"top_k": 2, "n_seeds": 2}}
UNPRUNED = {"pruner": "none"}


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(root=tmp_path / "mlruns")


def study(plain: Mapping[str, Any], **changes: Any) -> StudyDefinition:
    return definition_from_plain({**plain, **changes})


def run(
    state: StateDirectory, engine: VirtualEngine, definition: StudyDefinition, observer: Listener | None = None
) -> StudyRecord:
    return run_session(state, engine, definition, observer=observer, clock=lambda: engine.seconds)


def n_epochs(record: StudyRecord) -> int:
    return sum(trial.record.n_trained for trial in record.trials)


def told(record: StudyRecord) -> list[tuple[str, dict[str, Any], int, str]]:
    """What each trial was and came to."""
    return [
        (each.record.stage, dict(each.record.hyperparameters), len(each.record.epochs), each.record.state.value)
        for each in record.trials
    ]


@pytest.mark.parametrize("plain", [COUNTED, OPEN])
@pytest.mark.parametrize("epochs", [1, 7, 25])
def test_one_worker_trains_the_budget_to_the_epoch_and_the_finish_has_its_own(
    state: StateDirectory, plain: Mapping[str, Any], epochs: int
) -> None:
    engine = VirtualEngine()
    record = run(state, engine, study(plain, **FINISH, **UNPRUNED, budget={"epochs": epochs}))
    result = record.result
    assert record.state is StudyState.FINISHED and result is not None
    assert n_epochs(record) == epochs == sum(key.startswith("trial") for key, _ in engine.trained)
    by_stage = dict(result.n_epochs)
    assert by_stage.pop("refit") > 0
    assert sum(by_stage.values()) - by_stage.pop("confirm", 0) == epochs
    stopped = [each.record for each in record.trials if each.record.state is TrialState.STOPPED]
    assert len(stopped) <= 1
    assert all(each.reason == f"budget used up: epochs {epochs}" for each in stopped)
    assert epochs < 6 or {each.record.stage for each in record.trials} == {each.name for each in record.openings}


def test_all_that_is_planned_is_done_if_it_fits(state: StateDirectory) -> None:
    listener = Listener()
    definition = study(COUNTED, **UNPRUNED, budget={"epochs": 8 * 2 + 4 * 4 - 2 * 2})  # two go on after two epochs
    record = run(state, VirtualEngine(n_slots=4), definition, listener)
    assert {each.record.state for each in record.trials} == {TrialState.COMPLETE}
    assert (len(record.trials), n_epochs(record)) == (12, 28)
    assert record.result is not None and record.result.notices == ()


@pytest.mark.parametrize("n_workers", [3, 8])
@pytest.mark.parametrize("plain", [COUNTED, OPEN])
def test_workers_side_by_side_train_no_more_than_the_epochs_under_way(
    state: StateDirectory, plain: Mapping[str, Any], n_workers: int
) -> None:
    engine = UnevenEngine(n_slots=n_workers, slow=["trial-0001", "trial-0009"])
    record = run(state, engine, study(plain, **FINISH, budget={"epochs": 26}))
    assert n_epochs(record) <= 26 + n_workers - 1
    assert n_epochs(record) >= 26 or plain is COUNTED  # of which pruning saves some
    assert len(record.openings) == 2
    assert record.state is StudyState.FINISHED
    assert not any(each.record.state is TrialState.RUNNING for each in record.trials)


@pytest.mark.parametrize(
    "n_polls", [57, pytest.param(6, marks=pytest.mark.slow), pytest.param(7, marks=pytest.mark.slow)]
)
def test_a_study_that_is_killed_again_and_again_spends_the_same_epochs_on_the_same_trials(
    tmp_path: Path, n_polls: int
) -> None:
    definition = study(OPEN, budget={"epochs": 41})
    undisturbed = run(StateDirectory(root=tmp_path / "whole"), VirtualEngine(), definition)
    state, checkpoints = StateDirectory(root=tmp_path / "killed"), dict[str, int]()
    trained: set[tuple[str, int]] = set()
    n_kills, record = 0, None
    while record is None:
        engine = VirtualEngine(checkpoints=checkpoints, faults=Faults(killed_after_polls=n_polls))
        try:
            record = run(state, engine, definition)
        except KilledError:
            n_kills += 1
        trained.update(engine.trained)
    assert n_kills >= 1
    assert told(record) == told(undisturbed)
    assert n_epochs(record) == 41 == len(trained)


def test_a_trial_that_is_continued_pays_its_first_epochs_once(state: StateDirectory) -> None:
    record = run(state, VirtualEngine(), study(OPEN, **UNPRUNED, budget={"epochs": 33}))
    continued = [each.record for each in record.trials if each.record.continues]
    assert [(each.n_taken_over, each.n_trained) for each in continued] == [(2, 2), (2, 2)]
    assert n_epochs(record) == 33 == sum(len(each.record.epochs) for each in record.trials) - 4
    assert sum(each.record.stage == "coarse" for each in record.trials) == 8  # of 16 epochs, within a half
    assert record.result is not None and record.result.notices == ()  # nothing that was planned is missing


def test_a_budget_that_is_raised_goes_on_where_it_stopped(state: StateDirectory) -> None:
    checkpoints: dict[str, int] = {}
    definition = study(OPEN, **UNPRUNED, budget={"epochs": 30})
    before = run(state, VirtualEngine(checkpoints=checkpoints), definition)
    assert (before.state, n_epochs(before)) == (StudyState.FINISHED, 30)
    raised = with_overrides(definition, ["budget.epochs=47"])
    listener = Listener()
    after = run(state, VirtualEngine(checkpoints=checkpoints), raised, listener)
    assert listener.notices == ["the study's definition has changed: budget.epochs: 30 -> 47"]
    assert (after.state, n_epochs(after)) == (StudyState.FINISHED, 47)
    assert told(after)[: len(before.trials)] == told(before)
    lowered = with_overrides(definition, ["budget.epochs=5"])
    assert told(run(state, VirtualEngine(checkpoints=checkpoints), lowered)) == told(after)
    assert read_study("bell", directory=state).definition == lowered


def test_an_open_stage_can_be_given_a_number_of_trials_and_lose_it_again(state: StateDirectory) -> None:
    checkpoints: dict[str, int] = {}
    counted = with_overrides(study(OPEN, **UNPRUNED, budget={"epochs": 60}), ["stages.full.n_trials=3"])
    assert len(run(state, VirtualEngine(checkpoints=checkpoints), counted).trials) == 11
    opened = with_overrides(counted, ["stages.full.n_trials=null"])
    record = run(state, VirtualEngine(checkpoints=checkpoints), opened)
    assert n_epochs(record) == 60


@pytest.mark.slow
def test_a_number_of_trials_or_hours_bound_an_open_stage_as_well(tmp_path: Path) -> None:
    counts, spent = [], []
    for name, budget in enumerate([{"n_trials": 20}, {"n_trials": 10}, {"hours": 1.5}, {"device_hours": 0.4}]):
        state = StateDirectory(root=tmp_path / str(name))
        record = run(state, VirtualEngine(), study(OPEN, **UNPRUNED, budget=budget))
        stages = [each.record.stage for each in record.trials]
        counts.append((stages.count("coarse"), stages.count("full")))
        spent.append(record.spent)
        assert record.result is not None
        assert bool(record.result.notices) == (stages.count("coarse") < 8)
    assert counts[:2] == [(8, 12), (5, 5)]
    assert counts[2][0] == 8 and counts[2][1] > 8
    assert 1.4 * 3600.0 < spent[2].wall_seconds <= 1.5 * 3600.0
    assert 4 < counts[3][0] < 8 and counts[3][1] > 1
    assert spent[3].device_seconds <= 0.4 * 3600.0


def test_a_result_says_what_a_budget_of_epochs_left_out_of_a_plan(state: StateDirectory) -> None:
    record = run(state, VirtualEngine(), study(COUNTED, **UNPRUNED, budget={"epochs": 20}))
    assert record.result is not None
    (notice,) = record.result.notices
    assert notice.startswith(
        "The budget (20 epochs) did not reach for all: coarse has 5 of 8 trials, 1 of them stopped"
    )
    assert notice.endswith(", 20 epochs of trials.")


def test_a_result_says_that_what_was_kept_for_later_stages_was_not_needed(state: StateDirectory) -> None:
    later = {"n_trials": 12, "max_epochs": 24, "sampler": "tpe"}
    stages = [{"name": "coarse", "n_trials": 16, "max_epochs": 6}, *({"name": name, **later} for name in ("a", "b"))]
    record = run(state, VirtualEngine(), study(COUNTED, narrow="none", stages=stages, budget={"epochs": 500}))
    assert record.result is not None and n_epochs(record) < 400
    (notice,) = record.result.notices
    assert notice.startswith(
        "The budget (500 epochs) was shared out beforehand, and later stages needed less than was kept for them: "
        "coarse has 15 of 16 trials. Spent: "
    )


def test_a_forecast_of_an_open_stage_leaves_nothing_out(state: StateDirectory) -> None:
    listener = Listener()
    run(state, VirtualEngine(), study(OPEN, **UNPRUNED, budget={"epochs": 60}), listener)
    assert [each.stage for each in listener.forecasts] == ["coarse", "full"]
    coarse, full = listener.forecasts
    assert dict(coarse.left_out) == dict(full.left_out) == {}
    assert coarse.stage_seconds == pytest.approx(60.0 * 5 * 2, rel=0.1)
    assert coarse.study_seconds == pytest.approx(60.0 * (60 - 3 * 2), abs=60.0 * 5)
    assert full.stage_seconds == full.study_seconds < coarse.study_seconds

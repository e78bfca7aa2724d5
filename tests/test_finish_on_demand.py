"""`zeroin finish`: a search that ends where it stands, and what follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from plain_study import BELL
from reported_studies import text_of
from study_runs import Listener, run_session
from virtual_engine import KilledError, VirtualEngine

from search.cli.status import status_report
from search.errors import StudyConflictError, StudyFailedError, StudyNotFoundError
from search.messages import EpochReport
from search.paths import StateDirectory
from search.studies_api import finish_study, read_study
from search.study_definition import DEFAULT_FINISH, StudyDefinition
from search.study_file import definition_from_plain, with_overrides
from search.study_record import StudyRecord, StudyState
from search.trial import TrialState

PLAIN: Mapping[str, Any] = {
    **BELL,
    "stages": [
        {"name": "coarse", "n_trials": 6, "max_epochs": 2, "sampler": "qmc"},
        {"name": "fine", "n_trials": 6, "max_epochs": 4, "sampler": "random"},
    ],
    "finish": {"top_k": 2, "n_seeds": 2},
}

pytestmark = pytest.mark.usefixtures("untracked")


class Runs:
    """Sessions of one study; what is on disk outlives their deaths."""

    def __init__(self, state: StateDirectory) -> None:
        self.state, self.listener = state, Listener()
        self.checkpoints: dict[str, int] = {}

    def killed_in(self, given: StudyDefinition, trial: str) -> StudyRecord:
        with pytest.raises(KilledError):
            self.run(given, _killed_at(trial, self.checkpoints))
        return read_study("bell", directory=self.state)

    def run(
        self, given: StudyDefinition, engine: VirtualEngine | None = None, *, ends_search: bool = False
    ) -> StudyRecord:
        chosen = engine or VirtualEngine(checkpoints=self.checkpoints)
        return run_session(self.state, chosen, given, observer=self.listener, ends_search=ends_search)


@pytest.fixture
def runs(state: StateDirectory) -> Runs:
    return Runs(state)


def definition(**changes: Any) -> StudyDefinition:
    return definition_from_plain({**PLAIN, **changes})


@pytest.mark.parametrize("killed_in", ["trial-0003", "trial-0008"])
def test_the_search_ends_in_any_stage_and_its_best_are_confirmed(runs: Runs, killed_in: str) -> None:
    cut = runs.killed_in(definition(), killed_in)
    record = runs.run(definition(), ends_search=True)
    assert [trial.record.key for trial in record.trials] == [trial.record.key for trial in cut.trials]
    assert record.trials[-1].record.state is TrialState.COMPLETE  # it was under way
    assert record.state is StudyState.FINISHED and record.result is not None
    assert len(record.result.confirmations) == 2 and record.result.n_test_readings == 1
    end = record.early_end
    assert end is not None and end.n_left == 12 - len(cut.trials) and end.outlook is None
    assert any(end.reason in notice for notice in runs.listener.notices)
    assert end.reason in record.result.notices[0]


def test_a_finish_that_is_killed_is_resumed_without_the_search(runs: Runs) -> None:
    cut = runs.killed_in(definition(), "trial-0008")
    with pytest.raises(KilledError):
        runs.run(definition(), _killed_at("confirm", runs.checkpoints), ends_search=True)
    record = runs.run(definition())
    assert len(record.trials) == len(cut.trials) and record.result is not None


def test_a_search_that_is_over_is_finished_as_ever(runs: Runs) -> None:
    runs.killed_in(definition(), "confirm")
    record = runs.run(definition(), ends_search=True)
    assert record.early_end is None and len(record.trials) == 12 and record.result is not None


def test_a_study_that_was_not_to_be_finished_is(runs: Runs) -> None:
    bare = definition(finish=None)
    assert runs.run(bare).result is not None
    record = runs.run(with_overrides(bare, ["finish={top_k: 2, n_seeds: 2}"]), ends_search=True)
    assert record.result is not None and len(record.result.confirmations) == 2
    assert len(record.trials) == 12 and record.result.n_test_readings == 1


def test_a_finished_study_is_read_and_its_test_split_is_not(runs: Runs) -> None:
    runs.run(definition())
    record = finish_study("bell", directory=runs.state, devices="cpu:1")
    assert record.result is not None and record.result.n_test_readings == 1
    assert record.definition.finish != DEFAULT_FINISH


def test_nothing_to_confirm_and_no_study_are_said_so(runs: Runs) -> None:
    with pytest.raises(StudyNotFoundError, match="there is no study yet"):
        finish_study("bell", directory=runs.state)
    cut = runs.killed_in(definition(), "trial-0000")
    with pytest.raises(StudyConflictError, match=r"no trial that could be confirmed.*zeroin resume bell"):
        finish_study("bell", directory=runs.state)
    assert read_study("bell", directory=runs.state).early_end is cut.early_end is None


def test_a_search_that_found_nothing_is_not_sent_round_in_a_circle(runs: Runs) -> None:
    engine = VirtualEngine(metrics=lambda assignment, epoch: {"val_acc": math.nan})
    with pytest.raises(StudyFailedError, match="none of 12 trials trained to its end") as ended:
        runs.run(definition(), engine)
    with pytest.raises(StudyConflictError) as refused:
        finish_study("bell", directory=runs.state)
    assert str(refused.value) == f"study 'bell': {ended.value}"
    told = text_of(status_report(read_study("bell", directory=runs.state)), width=300)
    assert str(ended.value) in told
    assert "resume" not in told


def _killed_at(trial: str, checkpoints: dict[str, int]) -> VirtualEngine:
    def die(report: EpochReport) -> None:
        if report.trial_key.startswith(trial):
            raise KilledError

    return VirtualEngine(checkpoints=checkpoints, on_epoch=die)


def test_what_the_user_ended_is_not_put_down_to_the_budget(state: StateDirectory) -> None:
    runs = Runs(state)
    given = definition(budget={"epochs": 500})
    runs.killed_in(given, "trial-0003")
    record = runs.run(given, ends_search=True)
    assert record.result is not None
    assert "its finish was asked for after" in record.result.notices[0]
    assert not any(each.startswith("The budget") for each in record.result.notices)

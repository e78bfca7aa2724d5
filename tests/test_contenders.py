"""What is confirmed where trials repeat a configuration, in whole studies on virtual workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plain_study import BELL
from study_runs import run_session
from test_stage_overlap import UnevenEngine
from virtual_engine import VirtualEngine

from search.paths import StateDirectory
from search.study_file import definition_from_plain
from search.study_record import StudyRecord, StudyResult

pytestmark = pytest.mark.usefixtures("untracked")

RATES = [1.0e-3, 1.0e-2, 1.0e-5]


def finished(directory: Path, engine: VirtualEngine, **changes: Any) -> tuple[StudyRecord, StudyResult]:
    """A study of three configurations, each tried several times with other seeds."""
    plain = {
        **BELL,
        "space": {"model.learning_rate": {"choice": RATES}},
        "stages": [{"name": "only", "n_trials": 16, "max_epochs": 2, "sampler": "random"}],
        "early_stopping": "none",
        "finish": {"top_k": 3, "n_seeds": 2},
        **changes,
    }
    record = run_session(StateDirectory(root=directory), engine, definition_from_plain(plain))
    assert record.result is not None
    return record, record.result


def rates_of(record: StudyRecord, result: StudyResult) -> list[Any]:
    by_number = {each.record.number: each.record.hyperparameters for each in record.trials}
    return [by_number[each.trial_number]["model.learning_rate"] for each in result.confirmations]


@pytest.mark.parametrize("n_slots", [1, 4])
def test_contenders_are_different_configurations_each_by_its_best_trial(tmp_path: Path, n_slots: int) -> None:
    engine = UnevenEngine(n_slots=n_slots, slow=["trial-0000", "trial-0003"])
    record, result = finished(tmp_path, engine)
    assert rates_of(record, result) == RATES
    rewards = {each.record.number: each.score.reward for each in record.trials if each.score is not None}
    for confirmed, rate in zip(result.confirmations, RATES, strict=True):
        same = [each.record for each in record.trials if each.record.hyperparameters["model.learning_rate"] == rate]
        assert len(same) > 1
        assert rewards[confirmed.trial_number] == max(rewards[each.number] for each in same)


def test_where_there_are_fewer_configurations_than_wanted_there_are_fewer_contenders(tmp_path: Path) -> None:
    space = {"model.learning_rate": {"choice": RATES[:2]}}
    finish = {"top_k": 5, "n_seeds": 2, "ensemble": "top_k"}
    record, result = finished(tmp_path, VirtualEngine(), space=space, finish=finish, budget={"hours": 100.0})
    assert rates_of(record, result) == RATES[:2]
    assert result.refit_keys == tuple(f"refit-{each.trial_number:04d}" for each in result.confirmations)
    assert not any("The budget" in notice for notice in result.notices)

"""A contender that was dropped, and is among the best again since its search went on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plain_study import BELL
from study_runs import run_session
from virtual_engine import Faults, KilledError, VirtualEngine

from search.messages import EpochReport, TrialAssignment
from search.paths import StateDirectory
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain

pytestmark = pytest.mark.usefixtures("untracked")

SEARCHED = {"0000": 0.89, "0001": 0.90, "0012": 0.95}
"""Trial 12 is the last but one of the search, which ends early before it."""
OVER_SEEDS = {
    "0000": (0.89, 0.891, 0.892, 0.893),
    "0001": (0.80, 0.801, 0.802, 0.803),
    "0012": (0.82, 0.77, 0.80, 0.78),
}


def metrics(assignment: TrialAssignment, epoch: int) -> dict[str, float]:
    phase, number, *rest = assignment.trial_key.split("-")
    if phase == "confirm":
        value = OVER_SEEDS[number][int(rest[0].removeprefix("seed"))]
    else:
        value = SEARCHED.get(number, 0.5) if phase == "trial" else 0.5
    value = value if epoch == 4 else 0.1 * epoch
    return {"train_loss": 0.1, "val_acc": value, "gap_acc": 0.0, "train_eval_acc": value}


def definition(**changes: Any) -> StudyDefinition:
    stages = [{"name": "only", "n_trials": 14, "max_epochs": 4, "sampler": "qmc"}]
    finish = {"top_k": 2, "n_seeds": 4, "ensemble": False}
    end_early = {"min_trials": 6, "patience_trials": 1, "gain_below": 10.0}
    return definition_from_plain({**BELL, "stages": stages, "finish": finish, "end_early": end_early, **changes})


def die(report: EpochReport) -> None:
    if report.trial_key == "confirm-0000-seed3" and report.epoch == 4:
        raise KilledError


def test_a_run_that_was_stopped_as_needless_runs_once_more_when_it_is_wanted(tmp_path: Path) -> None:
    state, checkpoints = StateDirectory(root=tmp_path), dict[str, int]()
    late = Faults(loses_worker={"confirm-0001-seed2": 1})  # so that its contender is dropped while it runs
    dying = VirtualEngine(n_slots=5, metrics=metrics, checkpoints=checkpoints, on_epoch=die, faults=late)
    with pytest.raises(KilledError):
        run_session(state, dying, definition())
    assert "pruned" in (state.study("bell").trial("confirm-0001-seed2").epoch_log).read_text()
    workers = VirtualEngine(n_slots=5, metrics=metrics, checkpoints=checkpoints)
    result = run_session(state, workers, definition(end_early="none")).result
    assert result is not None
    rewards = {each.trial_number: each.rewards for each in result.confirmations}
    assert rewards == {1: OVER_SEEDS["0001"], 12: OVER_SEEDS["0012"]}
    assert result.best_trial_number == 1
    assert {key for key, _ in workers.trained} >= {"confirm-0001-seed2-again1"}

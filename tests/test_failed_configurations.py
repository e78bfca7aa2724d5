"""What a study does about hyperparameters with which training fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plain_study import BELL
from study_runs import run_session
from virtual_engine import VirtualEngine

from search.coordinator.failures import Failures
from search.messages import ToWorker, TrialAssignment
from search.paths import StateDirectory
from search.study_file import definition_from_plain
from search.trial import TrialRecord, TrialState

STAGES = [{"name": "coarse", "n_trials": 9, "max_epochs": 3}, {"name": "fine", "n_trials": 24, "max_epochs": 3}]
STUDY: dict[str, Any] = {
    **BELL,
    "study": "crashing",
    "space": {**BELL["space"], "model.activation": {"choice": ["relu", "gelu", "broken"]}},
    "finish": "none",
}


class BreakingEngine(VirtualEngine):
    """Every training with the broken activation raises."""

    def send(self, worker: int, message: ToWorker) -> None:
        if isinstance(message, TrialAssignment) and message.assembly.model_args["activation"] == "broken":
            self.faults.raises.add(message.trial_key)
        super().send(worker, message)


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("sampler", ["mixed", "staged_gp", "policy", "gp", "portfolio"])
def test_a_choice_that_cannot_be_trained_is_left_alone(sampler: str, tmp_path: Path) -> None:
    coarse, fine = STAGES
    definition = definition_from_plain({**STUDY, "stages": [coarse, {**fine, "sampler": sampler}]})
    record = run_session(StateDirectory(root=tmp_path), BreakingEngine(n_slots=2), definition)
    failed = [each.record.state is TrialState.FAILED for each in record.trials]
    assert len(failed) == 33
    assert 2 <= sum(failed[:9]) <= 4
    assert sum(failed[9:]) <= 6


def record(number: int, *, fails: bool, continues: str = "") -> TrialRecord:
    return TrialRecord(
        key=f"trial-{number:04}",
        number=number,
        stage="only",
        hyperparameters={},
        seed=0,
        n_epochs=1,
        horizon_epochs=1,
        state=TrialState.FAILED if fails else TrialState.COMPLETE,
        reason="ValueError: no" if fails else "",
        continues=continues,
        started_ms=0,
    )


def telling(failed: str) -> tuple[int, ...]:
    """Return what the failures of trials tell, which are marked by an F."""
    failures = Failures()
    for number, each in enumerate(failed):
        failures.ended(record(number, fails=each == "F"))
    return failures.telling


def test_single_failures_are_blamed_on_the_hyperparameters() -> None:
    assert telling("F..F.FF....") == (0, 3, 5, 6)
    assert telling("FF...") == (0, 1)


def test_what_stops_a_study_is_blamed_on_the_code() -> None:
    assert telling("FFF") == ()
    assert telling("FFF..F.") == (5,)
    assert telling("....FFFFF") == ()
    assert telling("....FFFFF......") == ()


def test_a_continuation_that_fails_tells_nothing() -> None:
    failures = Failures()
    failures.ended(record(0, fails=False))
    failures.ended(replace(record(1, fails=True), continues="trial-0000"))
    assert failures.telling == ()

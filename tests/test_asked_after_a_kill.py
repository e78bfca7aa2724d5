"""What is asked after a kill: the same as without it, whatever ran at that moment."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from no_tracker import NoTracker
from plain_study import BELL
from study_runs import run_session
from test_stage_overlap import Diary, UnevenEngine
from virtual_engine import Faults, KilledError

from search.messages import TrialAssignment
from search.paths import StateDirectory
from search.storage import trial_key
from search.studies_api import read_study
from search.study_file import definition_from_plain
from search.study_record import StudyRecord

SLOW = ("trial-0003", "trial-0017")
STAGES = [
    {"name": "coarse", "n_trials": 14, "max_epochs": 2},
    {"name": "medium", "n_trials": 8, "max_epochs": 4, "promote": 3},
    {"name": "fine", "max_epochs": 9, "promote": 2},
]
BOUNDED: dict[str, Any] = {
    "constraints": {"gap_acc": {"at_most": 0.08}},
    "budget": {"epochs": 120},
    "narrow": {"rule": "quantile_box", "outside_share": 0.2},
}


def noisy_bell(assignment: TrialAssignment, epoch: int) -> Mapping[str, float]:
    """A learning curve whose end and whose gap depend on the rate, with noise of the trial's own."""
    rate = math.log10(assignment.assembly.model_args["learning_rate"])
    noise = random.Random(f"{assignment.seed} {epoch}")
    accuracy = math.exp(-((rate + 2.5) ** 2)) * (1.0 - math.exp(-epoch / 3.0)) + 0.02 * noise.random()
    return {"val_acc": accuracy, "train_loss": 1.0 - accuracy, "gap_acc": 0.1 * abs(rate + 3.0) * noise.random()}


def run(home: Path, study: dict[str, Any], diary: Diary, checkpoints: dict[str, int]) -> StudyRecord:
    engine = UnevenEngine(n_slots=4, slow=SLOW, metrics=noisy_bell, checkpoints=checkpoints)
    engine.faults = Faults(diverges={"trial-0005"}, raises={"trial-0007"})
    definition = definition_from_plain(study)
    return run_session(StateDirectory(root=home), engine, definition, observer=diary, clock=lambda: engine.seconds)


def asked(record: StudyRecord, number: int) -> tuple[Any, ...]:
    trial = record.trials[number].record
    return trial.stage, trial.hyperparameters, trial.seed, trial.continues, trial.is_outside, trial.n_taken_over


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "pruner"), [("tpe", "median"), ("mixed", "forecast")])
def test_many_workers_are_asked_for_the_same_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, pruner: str
) -> None:
    monkeypatch.setattr("search.coordinator.session.MlflowTracker", NoTracker)
    coarse, *later = STAGES
    stages = [coarse, *({**stage, "sampler": sampler} for stage in later)]
    study = {**BELL, **BOUNDED, "stages": stages, "pruner": pruner}
    told = Diary()
    unkilled = run(tmp_path / "unkilled", study, told, {})
    assert sum(bool(each.record.continues) for each in unkilled.trials) == 5
    assert any(each.record.is_outside for each in unkilled.trials)
    ended_and_begun = [each for each in told.entries if not each.startswith("open")]
    last_of_a_kind = {
        asked(unkilled, int(then[-4:]))[::3]: (entry, int(then[-4:]))
        for entry, then in itertools.pairwise(ended_and_begun)
        if entry.startswith("end trial") and then.startswith("start trial")
    }
    assert len(last_of_a_kind) >= 5
    for index, (entry, number) in enumerate(last_of_a_kind.values()):
        home, checkpoints = tmp_path / f"killed-{index}", dict[str, int]()
        with pytest.raises(KilledError):
            run(home, study, Diary(dies_at=entry), checkpoints)
        resumed = Diary(dies_at=f"start {trial_key(number)}")
        with pytest.raises(KilledError):
            run(home, study, resumed, checkpoints)
        assert not [each for each in resumed.entries if each.startswith("end")], "nothing more is known than then"
        found = asked(read_study("bell", directory=StateDirectory(root=home)), number)
        assert found == asked(unkilled, number), entry

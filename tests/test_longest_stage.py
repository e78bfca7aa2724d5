"""Studies whose longest stage is not their last: a full training is the longest stage's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from plain_study import BELL
from reported_studies import text_of
from study_runs import run_session
from told_studies import Clock, a_record, a_trial, with_epochs
from virtual_engine import KilledError, VirtualEngine

from search.cli.plan import plan_report
from search.cli.progress_state import StudyProgress
from search.epoch_log import read_epoch_log
from search.messages import EpochReport, TrialAssignment
from search.paths import StateDirectory
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain
from search.trial import TrialRecord

LONG, SHORT = 12, 2
FINISH_RUNS = 2 * 2 + 2


def definition(**changes: Any) -> StudyDefinition:
    stages = [
        {"name": "long", "n_trials": 6, "max_epochs": LONG, "sampler": "qmc"},
        {"name": "short", "n_trials": 2, "max_epochs": SHORT, "sampler": "random"},
    ]
    return definition_from_plain({**BELL, "stages": stages, "finish": {"top_k": 2, "n_seeds": 2}, **changes})


def late_curve(assignment: TrialAssignment, epoch: int) -> Mapping[str, float]:
    """Accuracy by which low learning rates win after two epochs, and high ones after all of them."""
    rate = float(assignment.assembly.model_args["learning_rate"])
    accuracy = 0.5 + (0.01 * epoch if rate > 1e-3 else 0.05)
    return {"train_loss": 1.0 - accuracy, "val_acc": accuracy, "gap_acc": 0.0, "train_eval_acc": accuracy}


def logged(state: StateDirectory, phase: str) -> list[TrialRecord]:
    folders: list[Path] = sorted(state.study("bell").directory.glob(f"{phase}-*"))
    records = (read_epoch_log(state.study("bell").trial(folder.name).epoch_log) for folder in folders)
    return [record for record in records if record is not None]


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("horizon", ["study", "stage"])
def test_the_best_are_confirmed_and_refitted_by_full_trainings(state: StateDirectory, horizon: str) -> None:
    record = run_session(state, VirtualEngine(metrics=late_curve), definition(schedule_horizon=horizon))
    assert record.result is not None
    winner = record.trials[record.result.best_trial_number].record
    assert float(winner.hyperparameters["model.learning_rate"]) > 1e-3
    runs = [*logged(state, "confirm"), *logged(state, "refit")]
    assert len(runs) >= FINISH_RUNS - 1
    assert {(run.n_epochs, run.horizon_epochs) for run in runs} == {(LONG, LONG)}


@pytest.mark.usefixtures("untracked")
def test_a_resumed_finish_confirms_with_as_many_epochs_as_it_began_with(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(report: EpochReport) -> None:
        if report.trial_key.startswith("confirm") and report.trial_key.endswith("seed1"):
            raise KilledError

    checkpoints: dict[str, int] = {}
    with monkeypatch.context() as former, pytest.raises(KilledError):
        former.setattr(StudyDefinition, "longest_epochs", property(lambda study: study.stages[-1].max_epochs))
        run_session(state, VirtualEngine(checkpoints=checkpoints, on_epoch=die), definition())
    record = run_session(state, VirtualEngine(checkpoints=checkpoints), definition())
    assert record.result is not None
    assert {run.n_epochs for run in logged(state, "confirm")} == {SHORT}


def test_the_plan_and_the_time_left_count_full_trainings() -> None:
    study = definition()
    searched = 6 * LONG + 2 * SHORT
    text = text_of(plan_report(study))
    assert f"{searched + FINISH_RUNS * LONG} epochs in all" in text
    assert ["confirm", "<=", "4", str(LONG), str(4 * LONG)] in [line.split()[:5] for line in text.splitlines()]
    clock = Clock()
    progress = StudyProgress(now=clock)
    progress.open(a_record(study))
    progress.start(a_trial(0))
    for epoch in range(1, 5):
        clock.seconds += 0.5
        progress.advance(with_epochs(a_trial(0, n_epochs=LONG), epoch))
    assert progress.seconds_left == pytest.approx(0.5 * (searched + FINISH_RUNS * LONG - 4))

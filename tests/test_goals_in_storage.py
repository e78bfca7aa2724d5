"""What Optuna's own tools see of constraints and of further objectives."""

from __future__ import annotations

import math
from pathlib import Path
from shutil import rmtree

import optuna
import pytest
from goal_studies import BOUNDED, MEASURED, TWO_FOLD, rising_gap
from measured_trials import at, measured
from plain_study import BELL
from study_runs import run_session
from virtual_engine import VirtualEngine

from search.comparable_rewards import comparable_observations
from search.paths import StateDirectory
from search.record_codec import result_from_plain, result_to_plain
from search.reward import rank_key
from search.storage import StudyStore
from search.studies_api import read_study
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain
from search.trial import FinishedTrial, TrialState

BOTH = definition_from_plain({**TWO_FOLD, "constraints": BOUNDED["constraints"]})
ENDS = [
    (at(0.5, 0.04, epoch_seconds=3.0), TrialState.COMPLETE),
    (at(0.9, 0.08, epoch_seconds=3.0), TrialState.COMPLETE),
    (at(0.4, 0.01, epoch_seconds=3.0), TrialState.STOPPED_EARLY),
    (at(0.3, 0.02, epoch_seconds=3.0), TrialState.COMPLETE),
    (at(0.2, 0.01, epoch_seconds=90.0), TrialState.PRUNED),
    (at(math.nan, math.nan), TrialState.DIVERGED),
    ({"val_acc": 0.7}, TrialState.COMPLETE),
]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"journal://{tmp_path / 'optuna.journal'}"


def recorded(uri: str, definition: StudyDefinition, *, home: Path) -> optuna.Study:
    """A study of trials of one epoch each that ended like that, as Optuna reads it."""
    stored = StudyStore(uri, create=True).create(definition, directory=home)
    rate = "model.learning_rate"
    for number, (metrics, state) in enumerate(ENDS):
        trial = measured(number, metrics, of=definition.objective, state=state, point={rate: 10.0**-number})
        stored.add_trial(trial.record)
        if not math.isnan(metrics["val_acc"]):
            stored.report(number, epoch=1, value=metrics["val_acc"])
        for _ in range(2):  # the first answer may be lost
            stored.finish(trial.record, trial.score)
    if uri.startswith("sqlite"):
        return optuna.load_study(study_name=definition.study, storage=uri)
    backend = optuna.storages.journal.JournalFileBackend(uri.removeprefix("journal://"))
    return optuna.load_study(study_name=definition.study, storage=optuna.storages.JournalStorage(backend))


@pytest.mark.parametrize("kind", ["journal", pytest.param("sqlite", marks=pytest.mark.slow)])
def test_optuna_has_every_objective_and_every_constraint(kind: str, uri: str, tmp_path: Path) -> None:
    uri = uri if kind == "journal" else f"sqlite:///{tmp_path / 'optuna.db'}"
    theirs = recorded(uri, BOTH, home=tmp_path)
    assert [direction.name for direction in theirs.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert [trial.number for trial in theirs.best_trials] == [0, 2]
    assert theirs.trials[0].values == [0.5, 0.04]
    assert theirs.trials[0].constraints == pytest.approx({"gap_acc <= 0.05": -0.2, "epoch_seconds <= 9": -2 / 3})
    assert theirs.trials[1].constraints["gap_acc <= 0.05"] == pytest.approx(0.6)
    assert theirs.trials[4].constraints["epoch_seconds <= 9"] == pytest.approx(9.0)
    assert (theirs.trials[5].values, theirs.trials[5].constraints) == (None, {})
    assert theirs.trials[6].values == [0.7, math.inf]
    assert set(theirs.trials[6].constraints.values()) == {1.0}


def test_the_best_of_a_study_with_one_objective_keeps_the_constraints(uri: str, tmp_path: Path) -> None:
    theirs = recorded(uri, definition_from_plain(BOUNDED), home=tmp_path)
    assert theirs.best_trial.number == 0


def test_without_logs_trials_keep_their_standing(uri: str, tmp_path: Path) -> None:
    """A state directory that was cleaned: the storage is all there is."""
    recorded(uri, BOTH, home=tmp_path / "gone")
    found = read_study(BOTH.study, directory=StateDirectory(root=tmp_path), storage=uri)
    for trial, (metrics, state) in zip(found.trials, ENDS, strict=True):
        expected = measured(0, metrics, of=BOTH.objective, state=state).score
        assert trial.score is not None and expected is not None
        if state is not TrialState.DIVERGED:
            assert rank_key(trial.score, BOTH.objective) == rank_key(expected, BOTH.objective)
            assert trial.score.excesses == expected.excesses


def test_without_logs_the_penalty_on_the_gap_is_what_it_was(uri: str, tmp_path: Path) -> None:
    weighted = {"monitor": "val_acc", "direction": "maximize", "gap_weight": 2.0, "gap_tolerance": 0.02}
    definition = definition_from_plain({**BELL, "stages": BOUNDED["stages"], "objective": weighted})
    recorded(uri, definition, home=tmp_path / "gone")
    found = read_study(definition.study, directory=StateDirectory(root=tmp_path), storage=uri)
    rewards = [trial.score.reward for trial in found.trials if trial.score is not None]
    expected = [0.5 - 0.04, 0.9 - 0.12, 0.4, 0.3, 0.2, -math.inf, 0.7]
    assert rewards == pytest.approx(expected)
    gaps = [trial.score.gap_at_best for trial in found.trials if trial.score is not None]
    assert gaps == pytest.approx([0.04, 0.08, 0.01, 0.02, 0.01, math.nan, math.nan], nan_ok=True)


def test_confirmations_that_were_recorded_without_constraints_are_read() -> None:
    plain = {
        "best_trial_number": 3,
        "refit_keys": [],
        "refit_epochs": 0,
        "test_members": [],
        "test_ensemble": {},
        "n_test_samples": 0,
        "n_test_readings": 0,
        "n_epochs": {},
        "notices": [],
        "seconds": 1.0,
        "time_ms": 1,
        "confirmations": [
            {"trial_number": 3, "rewards": [0.5], "best_epochs": [2], "mean": 0.5, "eliminated_after": None}
        ],
    }
    (confirmation,) = result_from_plain(plain).confirmations
    assert (confirmation.measured, confirmation.violation) == ({}, 0.0)
    assert result_from_plain(result_to_plain(result_from_plain(plain))) == result_from_plain(plain)


@pytest.mark.usefixtures("untracked")
def test_without_logs_trials_of_different_length_compare_as_they_did(tmp_path: Path) -> None:
    """A gap that all epochs of a trial have: what the storage has of one stands for all."""
    state = StateDirectory(root=tmp_path)
    weighted = {"monitor": "val_acc", "direction": "maximize", "gap_weight": 1.0}
    definition = definition_from_plain({**BELL, "stages": BOUNDED["stages"], "objective": weighted})
    run_session(state, VirtualEngine(metrics=rising_gap, measured=MEASURED), definition)

    def rewards() -> list[float]:
        scored = read_study(definition.study, directory=state).trials
        finished = [FinishedTrial(record=each.record, score=each.score) for each in scored]
        return [each.reward for each in comparable_observations(finished, objective=definition.objective)]

    known = rewards()
    assert len(set(known)) > 5
    rmtree(state.study(definition.study).directory)
    assert rewards() == pytest.approx(known)

"""A study is never mixed with another one of its name, wherever their stores and directories are."""

from pathlib import Path
from typing import Any

import pytest
from study_runs import Listener, run_session
from test_coordinator import definition, run
from virtual_engine import Faults, KilledError, VirtualEngine

from search.errors import StateError, StudyConflictError
from search.paths import StateDirectory
from search.study_definition import StudyDefinition
from search.study_record import StudyRecord

pytestmark = pytest.mark.slow


@pytest.fixture
def state(tmp_path: Path, copied_mlflow_database: Any) -> StateDirectory:
    return made(tmp_path / "mlruns", copied_mlflow_database)


def made(root: Path, copied_mlflow_database: Any) -> StateDirectory:
    directory = StateDirectory(root=root)
    copied_mlflow_database(directory.mlflow_database)
    return directory


def run_in(state: StateDirectory, storage: str, engine: VirtualEngine, study: StudyDefinition) -> StudyRecord:
    return run_session(state, engine, study, storage=storage)


def test_what_an_earlier_study_of_the_name_left_is_moved_aside(state: StateDirectory) -> None:
    old = run(state, VirtualEngine())
    state.optuna_journal.unlink()
    observer = Listener()
    new = run(state, VirtualEngine(), definition(seed=99), observer=observer)
    assert [trial.record.seed for trial in new.trials] != [trial.record.seed for trial in old.trials]
    assert all(len(trial.record.epochs) <= trial.record.n_epochs for trial in new.trials)
    (aside,) = state.study("bell").directory.glob("before-*")
    assert (aside / "trial-0000" / "epochs.jsonl").exists()
    assert any("were moved to" in notice for notice in observer.notices)


def test_a_study_in_a_shared_storage_is_not_continued_away_from_its_checkpoints(
    state: StateDirectory, tmp_path: Path, copied_mlflow_database: Any
) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    with pytest.raises(KilledError):
        run_in(state, storage, VirtualEngine(faults=Faults(killed_after_polls=20)), definition())
    elsewhere = made(tmp_path / "elsewhere", copied_mlflow_database)
    engine = VirtualEngine()
    with pytest.raises(StudyConflictError, match=f"lives in {state.study('bell').directory}"):
        run_in(elsewhere, storage, engine, definition())
    assert engine.trained == []


def test_a_study_whose_directory_was_moved_goes_on(state: StateDirectory, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        run(state, VirtualEngine(faults=Faults(killed_after_polls=20)))
    moved = StateDirectory(root=state.root.rename(tmp_path / "moved"))
    engine = VirtualEngine()
    run(moved, engine)
    assert ("trial-0000", 1) not in engine.trained


def test_logs_of_another_study_are_never_taken_for_ones_own(state: StateDirectory) -> None:
    with pytest.raises(KilledError):
        run(state, VirtualEngine(faults=Faults(killed_after_polls=20)))
    log = state.study("bell").trial("trial-0000").epoch_log
    log.write_text(log.read_text().replace('"study_uid":"', '"study_uid":"x'))
    with pytest.raises(StateError, match=r"another study of the same name.*zeroin resume bell"):
        run(state, VirtualEngine())

"""SQLite files that another program holds for ten seconds: a study waits for them and goes on, and loses nothing."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from study_runs import run_session
from test_coordinator import definition, fingerprint
from virtual_engine import VirtualEngine

from search.messages import EpochReport
from search.paths import StateDirectory
from search.study_record import StudyRecord

pytestmark = pytest.mark.slow

LOCKED_SECONDS = 10.0


def run(
    state: StateDirectory, directory: Path, *, on_epoch: Callable[[EpochReport], None] = lambda report: None
) -> StudyRecord:
    """Run the study with both of its stores in SQLite."""
    storage = f"sqlite:///{directory / 'optuna.db'}"
    return run_session(state, VirtualEngine(on_epoch=on_epoch), definition(), storage=storage)


def hold(path: Path, locked: threading.Event) -> None:
    """Lock the database as a program does that writes to it, for ten seconds."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=60.0)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        locked.set()
        time.sleep(LOCKED_SECONDS)
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def test_both_stores_are_waited_for(tmp_path: Path, copied_mlflow_database: Callable[[Path], Path]) -> None:
    states = [StateDirectory(root=tmp_path / name) for name in ("undisturbed", "locked")]
    for each in states:
        copied_mlflow_database(each.mlflow_database)
    expected = run(states[0], states[0].root)
    threads: list[threading.Thread] = []

    def lock(report: EpochReport) -> None:
        if (report.trial_key, report.epoch) != ("trial-0005", 1):
            return
        for path in (states[1].root / "optuna.db", states[1].mlflow_database):
            locked = threading.Event()
            threads.append(threading.Thread(target=hold, args=(path, locked)))
            threads[-1].start()
            assert locked.wait(30.0)

    began = time.monotonic()
    record = run(states[1], states[1].root, on_epoch=lock)
    assert time.monotonic() - began > LOCKED_SECONDS
    for thread in threads:
        thread.join()
    assert fingerprint(record) == fingerprint(expected)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{states[1].mlflow_database}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "bell"]
    runs = {each.data.tags.get("zeroin.trial"): each for each in client.search_runs([experiment.experiment_id])}
    assert {each.info.status for each in runs.values()} <= {"FINISHED", "KILLED"}
    for trial in record.trials:
        history = client.get_metric_history(runs[trial.record.key].info.run_id, "val_acc")
        assert sorted(point.step for point in history) == [epoch.epoch for epoch in trial.record.epochs]

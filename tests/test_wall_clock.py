"""A computer's clock that is set back spoils nothing: recorded times never go back, durations are never negative."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_coordinator import fingerprint, run
from virtual_engine import Faults, KilledError, VirtualEngine

from search.epoch_log import read_epoch_log
from search.messages import EpochReport
from search.paths import StateDirectory
from search.wall_clock import WallClock


@given(steps=st.lists(st.tuples(st.floats(0.0, 1e4), st.floats(-1e6, 1e6)), max_size=20))
def test_it_goes_on_at_least_at_its_pace_and_is_never_behind(steps: list[tuple[float, float]]) -> None:
    unix, monotonic = 1.8e9, 50.0
    clock = WallClock(unix_seconds=lambda: unix, monotonic_seconds=lambda: monotonic)
    last = clock.now_ms()
    for passed, jump in steps:
        monotonic += passed
        unix += passed + jump
        now = clock.now_ms()
        assert now - last >= 1000.0 * passed - 1.0
        assert now >= 1000.0 * unix - 1.0
        last = now


def test_it_catches_up_with_what_an_earlier_session_wrote() -> None:
    unix = 1.8e9
    clock = WallClock(unix_seconds=lambda: unix, monotonic_seconds=lambda: 0.0)
    clock.witnessed(1_800_000_500_000)
    assert clock.now_ms() == 1_800_000_500_000
    clock.witnessed(1_700_000_000_000)
    assert clock.now_ms() == 1_800_000_500_000


@pytest.mark.slow
def test_a_study_with_the_clock_set_back_while_it_runs_and_between_its_sessions_is_as_undisturbed(
    tmp_path: Path, copied_mlflow_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [StateDirectory(root=tmp_path / name) for name in ("undisturbed", "set-back")]
    for each in states:
        copied_mlflow_database(each.mlflow_database)
    expected = run(states[0], VirtualEngine())

    real, behind_seconds = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: real() - behind_seconds)
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * time.time()))

    def set_back(report: EpochReport) -> None:
        nonlocal behind_seconds
        if (report.trial_key, report.epoch) == ("trial-0004", 2):
            behind_seconds = 3600.0

    checkpoints: dict[str, int] = {}
    with pytest.raises(KilledError):
        run(states[1], VirtualEngine(checkpoints=checkpoints, on_epoch=set_back, faults=Faults(killed_after_polls=45)))
    assert behind_seconds
    behind_seconds = 7200.0
    record = run(states[1], VirtualEngine(checkpoints=checkpoints))
    assert fingerprint(record) == fingerprint(expected)

    logs = [read_epoch_log(path) for path in states[1].root.glob("trials/bell/*/epochs.jsonl")]
    assert len(logs) > len(record.trials)
    for log in logs:
        assert log is not None
        assert log.finished_ms is not None
        times = [log.started_ms, *(epoch.time_ms for epoch in log.epochs), log.finished_ms]
        assert times == sorted(times), log.key
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{states[1].mlflow_database}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "bell"]
    runs = client.search_runs([experiment.experiment_id])
    assert all(each.info.end_time >= each.info.start_time for each in runs)
    by_key = {each.data.tags.get("zeroin.trial"): each for each in runs}
    for trial in record.trials:
        history = client.get_metric_history(by_key[trial.record.key].info.run_id, "val_acc")
        points = sorted((point.step, point.value) for point in history)
        assert points == [(epoch.epoch, epoch.metrics["val_acc"]) for epoch in trial.record.epochs]
        assert by_key[trial.record.key].data.metrics["val_acc"] == trial.record.epochs[-1].metrics["val_acc"]

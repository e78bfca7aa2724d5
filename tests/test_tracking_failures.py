"""MLflow that cannot be reached, refuses or is too slow: nobody waits for it, and the user is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import wait_for
from tracked_study import new_tracker, runs_of, score_of, tracking, trial

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_template")  # the seconds below are not for the import of MLflow
def test_a_store_that_cannot_be_reached_stops_nobody_and_is_reported(tmp_path: Path) -> None:
    notices: list[str] = []
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    began = time.perf_counter()
    tracker = new_tracker(f"sqlite:///{blocked}/mlflow.db", tmp_path, notices, flush_seconds=0.01)
    tracker.publish_trial(trial(), score_of(trial()))
    assert time.perf_counter() - began < 1.0
    assert tracker.close(timeout_seconds=2.0) == ("trial-0000",)
    assert len(notices) == 2
    assert all(str(blocked) in notice for notice in notices)
    assert "trial-0000" in notices[1]


@pytest.mark.slow
def test_a_store_that_comes_back_gets_everything(
    mlflow_template: Path, copied_mlflow_database: Callable[[Path], Path], tmp_path: Path
) -> None:
    import mlflow

    notices: list[str] = []
    blocked = tmp_path / "store"
    blocked.write_text("not a directory")
    uri = f"sqlite:///{blocked / 'mlflow.db'}"
    tracker = new_tracker(uri, tmp_path, notices, flush_seconds=0.01)
    tracker.publish_trial(trial(), score_of(trial()))
    wait_for(lambda: tracker.is_failing)
    blocked.unlink()
    copied_mlflow_database(blocked / "mlflow.db")
    assert tracker.close(timeout_seconds=60.0) == ()
    assert len(notices) == 2
    assert "again" in notices[1]
    assert runs_of(mlflow.MlflowClient(tracking_uri=uri))["trial-0000"].info.status == "FINISHED"


def test_what_mlflow_refuses_is_dropped_and_reported_and_the_rest_arrives(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    notices: list[str] = []
    tracker = new_tracker(mlflow_uri, tmp_path, notices, flush_seconds=0.01)
    tracker.publish_trial(trial(0, hyperparameters={"model.π?": 1}), None)
    tracker.publish_trial(trial(1), score_of(trial(1)))
    tracker.publish_trial(trial(2, hyperparameters={"model.π?": 1}), None)
    assert tracker.close(timeout_seconds=60.0) == ()  # a later attempt would deliver no more than this one
    assert not tracker.is_failing
    assert "trial-0000" in notices[0]
    assert "trial-0000, trial-0002" in notices[1]
    assert len(notices) == 2
    assert runs_of(client)["trial-0001"].info.status == "FINISHED"


@pytest.mark.slow
def test_closing_while_mlflow_fails_waits_for_one_more_attempt_only(tmp_path: Path) -> None:
    notices: list[str] = []
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    tracker = new_tracker(f"sqlite:///{blocked}/mlflow.db", tmp_path, notices)
    tracker.publish_trial(trial(), None)
    wait_for(lambda: tracker.is_failing)
    began = time.monotonic()
    assert tracker.close(timeout_seconds=120.0) == ("trial-0000",)
    assert time.monotonic() - began < 6.0
    assert tracker.is_failing
    assert not any("again;" in notice for notice in notices)


@pytest.mark.slow
def test_giving_up_is_not_announced_as_a_recovery(
    mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.tracking import tracker as module

    calls: list[threading.Thread] = []
    may_succeed = threading.Event()

    def first_fails_then_is_slow(uri: str, artifacts: str) -> None:
        calls.append(threading.current_thread())
        if len(calls) == 1:
            raise OSError("unreachable")
        may_succeed.wait()

    monkeypatch.setattr(module, "ensure_database", first_fails_then_is_slow)
    notices: list[str] = []
    tracker = new_tracker(mlflow_uri, tmp_path, notices)
    tracker.publish_trial(trial(), None)
    wait_for(lambda: len(calls) == 2)
    assert tracker.close(timeout_seconds=0.3) == ("trial-0000",)
    may_succeed.set()  # too late
    calls[1].join(60.0)
    assert not calls[1].is_alive()
    assert tracker.is_failing
    assert tracker.close(timeout_seconds=0.0) == ("trial-0000",)
    assert not any("again;" in notice for notice in notices)


@pytest.mark.slow
def test_after_close_gave_up_nothing_is_written_and_a_second_tracker_takes_over(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    notices: list[str] = []
    hurried = new_tracker(mlflow_uri, tmp_path, notices, flush_seconds=0.01)
    for number in range(50):
        hurried.publish_trial(trial(number), score_of(trial(number)))
    left = hurried.close(timeout_seconds=0.0)
    assert left
    assert len(notices) == 1
    with tracking(mlflow_uri, tmp_path) as tracker:
        for number in range(50):
            tracker.publish_trial(trial(number), score_of(trial(number)))
    assert len(runs_of(client)) == 51

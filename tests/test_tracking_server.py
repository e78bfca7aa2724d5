from __future__ import annotations

import math
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import free_port
from mlflow_server import wait_until_healthy
from tracked_study import START_MS, UID, definition, new_tracker, trial

from search.errors import StateError
from search.tracking import delete_study, ui_command
from search.trial import EpochRecord, Score


def test_the_command_line_hides_the_uri_and_the_server_has_one_worker(tmp_path: Path) -> None:
    uri = "postgresql://me:secret@db/mlflow"
    command = ui_command(tracking_uri=uri, artifact_root=tmp_path, host="127.0.0.1", port=5001)
    assert "secret" not in " ".join(command.arguments)
    assert command.environment["MLFLOW_BACKEND_STORE_URI"] == uri
    arguments = list(command.arguments)
    assert arguments[arguments.index("--workers") + 1] == "1"
    assert arguments[arguments.index("--host") + 1] == "127.0.0.1"
    assert arguments[arguments.index("--port") + 1] == "5001"


def test_a_server_has_its_own_ui(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"http://tracking\.example is a server"):
        ui_command(tracking_uri="http://tracking.example", artifact_root=tmp_path, host="127.0.0.1", port=1)


def record_study(uri: str, directory: Path, *, name: str) -> tuple[str, ...]:
    """Record a study of one trial; return what could not be delivered."""
    epoch = EpochRecord(epoch=1, metrics={"val_acc": 0.5, "val_loss": math.nan}, time_ms=START_MS)
    tracker = new_tracker(uri, directory, [], study=definition(name), flush_seconds=0.01)
    score = Score(reward=0.5, best_value=0.5, best_epoch=1, gap_at_best=math.nan)
    tracker.publish_trial(trial(epochs=(epoch,)), score)
    return tracker.close(timeout_seconds=60.0)


@contextmanager
def serving(uri: str, directory: Path) -> Iterator[str]:
    """Address of MLflow's server on the store."""
    port = free_port()
    command = ui_command(tracking_uri=uri, artifact_root=directory / "artifacts", host="127.0.0.1", port=port)
    with (directory / "server.log").open("w") as log:
        server = subprocess.Popen(
            command.arguments, env=dict(command.environment), cwd=directory, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(address, server, directory / "server.log")
        yield address
    finally:
        server.terminate()
        server.wait(30.0)


@pytest.mark.slow
def test_the_ui_serves_runs_and_artifacts_and_is_a_store_itself(mlflow_uri: str, tmp_path: Path) -> None:
    import mlflow

    assert record_study(mlflow_uri, tmp_path, name="digits") == ()
    with serving(mlflow_uri, tmp_path) as address:
        client = mlflow.MlflowClient(tracking_uri=address)
        experiment = client.get_experiment_by_name("digits")
        assert experiment is not None
        runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
        assert set(runs) == {"digits", "trial-0000"}
        assert runs["trial-0000"].data.metrics["best_val_acc"] == 0.5
        artifact = f"{address}/get-artifact?path=study.yaml&run_uuid={runs['digits'].info.run_id}"
        with urllib.request.urlopen(artifact, timeout=10.0) as answer:
            assert b"study: digits" in answer.read()
        with urllib.request.urlopen(f"{address}/", timeout=10.0) as answer:
            assert b"<html" in answer.read()

        for _ in range(2):  # the second one finds the runs of the first
            assert record_study(address, tmp_path, name="remote") == ()
        remote = client.get_experiment_by_name("remote")
        assert remote is not None
        names = sorted(str(run.info.run_name) for run in client.search_runs([remote.experiment_id]))
        assert names == ["remote", "trial-0000"]
        assert delete_study(address, "remote", study_uid=UID)
        assert client.get_experiment_by_name("remote") is None
        assert not delete_study(address, "remote", study_uid=UID)


@pytest.mark.slow
def test_a_deleted_study_is_gone_for_good_and_nothing_else_is(mlflow_uri: str, tmp_path: Path) -> None:
    import mlflow
    from mlflow.entities import ViewType

    client = mlflow.MlflowClient(tracking_uri=mlflow_uri)
    others = client.create_experiment("others", artifact_location=str(tmp_path / "artifacts" / "others"))
    bystander = client.create_run(others).info.run_id
    client.delete_run(bystander)  # in the bin, from where its owner may still take it
    model = client.create_logged_model(others).model_id
    client.delete_logged_model(model)
    assert record_study(mlflow_uri, tmp_path, name="digits") == ()
    first = client.get_experiment_by_name("digits")
    assert first is not None
    (deleted_before, *_) = client.search_runs([first.experiment_id])
    client.delete_run(deleted_before.info.run_id)

    assert delete_study(mlflow_uri, "digits", study_uid=UID)
    names = {experiment.name for experiment in client.search_experiments(view_type=ViewType.ALL)}
    assert names == {"Default", "others"}
    assert not (tmp_path / "artifacts" / "digits").exists()
    client.restore_run(bystander)
    assert not delete_study(mlflow_uri, "digits", study_uid=UID)

    assert record_study(mlflow_uri, tmp_path, name="digits") == ()
    again = client.get_experiment_by_name("digits")
    assert again is not None
    client.delete_experiment(again.experiment_id)  # by the user, in the UI
    assert delete_study(mlflow_uri, "digits", study_uid=UID)
    assert client.get_experiment_by_name("digits") is None


def test_deleting_from_a_store_that_was_never_made_makes_none(tmp_path: Path) -> None:
    assert not delete_study(f"sqlite:///{tmp_path / 'mlflow.db'}", "digits", study_uid=UID)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_no_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StateError, match=r"'digits' could not be deleted from MLflow at .*mlflow\.db"):
        delete_study(f"sqlite:///{path}", "digits", study_uid=UID)

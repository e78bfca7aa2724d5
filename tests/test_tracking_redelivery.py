"""A tracker that finds something in MLflow: its study's own runs, another study's, what a user deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tracked_study import UID, contents, definition, opening, runs_of, score_of, study_record, tracking, trial

from search.tracking import delete_study
from search.trial import TrialState

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.mark.slow
def test_delivery_in_pieces_equals_delivery_at_once(
    mlflow_uri: str, copied_mlflow_database: Callable[[Path], Path], client: MlflowClient, tmp_path: Path
) -> None:
    import mlflow

    records = [trial(number, state=TrialState.COMPLETE) for number in range(2)]
    with tracking(mlflow_uri, tmp_path) as tracker:
        for record in records:
            for n_epochs in range(len(record.epochs) + 1):
                part = trial(record.number or 0, n_epochs=n_epochs, state=TrialState.RUNNING)
                tracker.publish_trial(part, score_of(part) if n_epochs else None)
                time.sleep(0.03)
            tracker.publish_trial(record, score_of(record))
        for index, high in enumerate((1.0, 0.1)):
            tracker.publish_stage(opening(index, high=high))
    other = f"sqlite:///{copied_mlflow_database(tmp_path / 'other' / 'mlflow.db')}"
    with tracking(other, tmp_path) as tracker:
        tracker.publish_study(study_record(*records, study=definition()))
        tracker.publish_trial(records[0], score_of(records[0]))
    assert contents(client) == contents(mlflow.MlflowClient(tracking_uri=other))


def test_redelivery_by_another_process_changes_nothing(mlflow_uri: str, client: MlflowClient, tmp_path: Path) -> None:
    study = definition()
    record = study_record(trial(0), trial(1, state=TrialState.PRUNED, reason="worse"), study=study)
    seen = []
    for _ in range(3):
        with tracking(mlflow_uri, tmp_path, study=study) as tracker:
            tracker.publish_study(record)
        seen.append(contents(client))
    assert seen[0] == seen[1] == seen[2]


def test_a_run_that_a_crash_left_running_is_repaired(mlflow_uri: str, client: MlflowClient, tmp_path: Path) -> None:
    with tracking(mlflow_uri, tmp_path) as tracker:  # ends without a word, like a killed coordinator
        tracker.publish_trial(trial(n_epochs=1, state=TrialState.RUNNING), None)
    assert runs_of(client)["trial-0000"].info.status == "RUNNING"
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(trial(), score_of(trial()))
    run = runs_of(client)["trial-0000"]
    assert run.info.status == "FINISHED"
    assert [row.step for row in client.get_metric_history(run.info.run_id, "val_acc")] == [1, 2, 3]


def test_an_interrupted_study_is_killed_and_a_resumed_one_runs_again(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(trial(0), score_of(trial(0)))
        tracker.publish_trial(trial(1, n_epochs=1, state=TrialState.RUNNING), None)
        tracker.publish_trial(trial(2, n_epochs=2, state=TrialState.INTERRUPTED), None)
        tracker.interrupt("stopped by the user")
    runs = runs_of(client)
    assert {name: run.info.status for name, run in runs.items()} == {
        "digits": "KILLED",
        "trial-0000": "FINISHED",
        "trial-0001": "KILLED",
        "trial-0002": "KILLED",
    }
    assert {runs[name].data.tags["zeroin.state"] for name in ("digits", "trial-0001", "trial-0002")} == {"interrupted"}
    ids = {name: run.info.run_id for name, run in runs.items()}
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(trial(1, n_epochs=2, state=TrialState.RUNNING), None)
        tracker.publish_trial(trial(2), score_of(trial(2)))
    runs = runs_of(client)
    assert {name: run.info.run_id for name, run in runs.items()} == ids
    assert runs["digits"].info.status == runs["trial-0001"].info.status == "RUNNING"
    assert runs["trial-0001"].data.tags["zeroin.state"] == "running"
    assert runs["trial-0001"].data.tags["zeroin.reason"] == ""
    assert runs["trial-0002"].info.status == "FINISHED"
    history = client.get_metric_history(ids["trial-0002"], "val_acc")
    assert sorted(row.step for row in history) == [1, 2, 3]


def test_a_deleted_experiment_of_that_name_is_no_obstacle(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    old = client.create_experiment("digits")
    client.create_run(old, tags={"zeroin.trial": "trial-0000"})
    client.delete_experiment(old)
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(trial(), None)
    assert set(runs_of(client)) == {"digits", "trial-0000"}
    left = client.get_experiment(old)
    assert left.lifecycle_stage == "deleted"
    assert left.name != "digits"


def test_a_run_that_the_user_deleted_stays_deleted(mlflow_uri: str, client: MlflowClient, tmp_path: Path) -> None:
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(trial(n_epochs=1, state=TrialState.RUNNING), None)
    client.delete_run(runs_of(client)["trial-0000"].info.run_id)
    client.delete_run(runs_of(client)["digits"].info.run_id)
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(trial(), score_of(trial()))
    assert set(runs_of(client)) == {"digits"}  # the study's own comes back: everything hangs on it


def test_runs_are_found_again_across_pages(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.tracking import paging

    monkeypatch.setattr(paging, "_PAGE", 2)
    for _ in range(2):
        with tracking(mlflow_uri, tmp_path) as tracker:
            for number in range(5):
                tracker.publish_trial(trial(number), score_of(trial(number)))
    assert len(runs_of(client)) == 6


def test_studies_of_one_name_never_mix(mlflow_uri: str, client: MlflowClient, tmp_path: Path) -> None:
    mine, theirs = "aaaaaaaa-1", "bbbbbbbb-2"
    for _ in range(2):  # the second time both are resumed
        with tracking(mlflow_uri, tmp_path, uid=mine) as tracker:
            tracker.publish_trial(trial(0), score_of(trial(0)))
        with tracking(mlflow_uri, tmp_path, uid=theirs, n_notices=1) as tracker:
            tracker.publish_trial(trial(0, hyperparameters={"model.learning_rate": 0.5}), None)
            tracker.publish_trial(trial(1), score_of(trial(1)))
    runs, others = runs_of(client), runs_of(client, "digits-bbbbbbbb")
    assert set(runs) == {"digits", "trial-0000"}
    assert set(others) == {"digits", "trial-0000", "trial-0001"}
    assert {run.data.tags["zeroin.study_uid"] for run in runs.values()} == {mine}
    assert {run.data.tags["zeroin.study_uid"] for run in others.values()} == {theirs}
    assert others["trial-0000"].data.tags["mlflow.parentRunId"] == others["digits"].info.run_id
    assert runs["trial-0000"].data.params["model.learning_rate"] == "1e-05"
    assert others["trial-0000"].data.params["model.learning_rate"] == "0.5"


def test_a_study_keeps_its_experiment_when_the_plain_name_becomes_free(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    stranger = client.create_experiment("digits")
    run = client.create_run(stranger, tags={"zeroin.study": "digits"})  # tells no identifier at all
    with tracking(mlflow_uri, tmp_path, n_notices=1) as tracker:
        tracker.publish_trial(trial(), None)
    client.delete_experiment(stranger)
    with tracking(mlflow_uri, tmp_path, n_notices=1) as tracker:
        tracker.publish_trial(trial(), score_of(trial()))
    assert set(runs_of(client, f"digits-{UID[:8]}")) == {"digits", "trial-0000"}
    found = client.get_experiment_by_name("digits")
    assert found is not None
    assert (found.experiment_id, found.lifecycle_stage) == (stranger, "deleted")
    assert client.get_run(run.info.run_id).data.tags["zeroin.study"] == "digits"


@pytest.mark.slow
def test_runs_of_others_in_the_experiment_are_left_alone(mlflow_uri: str, client: MlflowClient, tmp_path: Path) -> None:
    experiment = client.create_experiment("digits")  # made beforehand, empty: it is for this study
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(trial(n_epochs=1, state=TrialState.RUNNING), None)
    tags = {"zeroin.trial": "trial-0001", "zeroin.study_uid": "another"}
    other = client.create_run(experiment, tags=tags).info.run_id
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(trial(1), score_of(trial(1)))
        tracker.interrupt()
    assert client.get_run(other).info.status == "RUNNING"
    assert client.get_run(other).data.metrics == {}
    assert len(client.search_runs([experiment])) == 4


@pytest.mark.slow
def test_a_study_that_is_deleted_leaves_another_of_its_name(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    mine, theirs = "aaaaaaaa-1", "bbbbbbbb-2"
    for uid in (mine, theirs):
        with tracking(mlflow_uri, tmp_path, uid=uid, n_notices=int(uid == theirs)) as tracker:
            tracker.publish_trial(trial(), score_of(trial()))
    assert not delete_study(mlflow_uri, "digits", study_uid="cccccccc-3")
    assert delete_study(mlflow_uri, "digits", study_uid=theirs)
    assert not delete_study(mlflow_uri, "digits", study_uid=theirs)
    assert client.get_experiment_by_name("digits-bbbbbbbb") is None
    assert set(runs_of(client)) == {"digits", "trial-0000"}


@pytest.mark.parametrize("uid", ["", "a'b", "a b", "ü"])
def test_an_identifier_that_cannot_stand_in_a_query_is_refused(uid: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="study_uid must consist of"), tracking("sqlite://", tmp_path, uid=uid):
        pass

"""What a study looks like in MLflow: its runs, their curves, states, results."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tracked_study import METRICS, START_MS, definition, opening, runs_of, score_of, study_record, tracking, trial

from search.study_record import StudyResult
from search.trial import EpochRecord, Score, TrialState

if TYPE_CHECKING:
    from mlflow import MlflowClient


RESULT = StudyResult(
    best_trial_number=1,
    confirmations=(),
    refit_keys=("refit-seed0",),
    refit_epochs=3,
    test_members=({"test_acc": 0.9}, {"test_acc": 0.95}),
    test_ensemble={"test_acc": 0.97, "test_loss": math.inf},
    n_test_samples=10,
    n_test_readings=1,
    n_epochs={"coarse": 6, "fine": 6},
    notices=(),
    seconds=12.5,
    time_ms=START_MS + 99_000,
)


def test_a_trial_is_one_run_below_the_study_with_its_curves(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    record = trial(1)
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(record, score_of(record))
    runs = runs_of(client)
    assert set(runs) == {"digits", "trial-0001"}
    run = runs["trial-0001"]
    assert run.data.tags["mlflow.parentRunId"] == runs["digits"].info.run_id
    assert run.data.params == {"model.learning_rate": "2e-05", "model.optimizer": "sgd"}
    assert (run.info.start_time, run.info.end_time) == (record.started_ms, record.finished_ms)
    tags = run.data.tags
    assert (tags["zeroin.trial"], tags["zeroin.stage"], tags["zeroin.seed"]) == ("trial-0001", "coarse", "1")
    for name in METRICS:
        rows = client.get_metric_history(run.info.run_id, name)
        got = [(row.step, row.value, row.timestamp) for row in sorted(rows, key=lambda row: row.step)]
        assert got == [(epoch.epoch, epoch.metrics[name], epoch.time_ms) for epoch in record.epochs]
    summaries = {"best_val_acc", "best_epoch", "gap_acc_at_best", "reward"}
    assert set(run.data.metrics) == {*METRICS, *summaries, "log10 model.learning_rate"}
    assert run.data.metrics["log10 model.learning_rate"] == math.log10(2e-05)
    score = score_of(record)
    assert run.data.metrics["best_val_acc"] == score.best_value
    assert run.data.metrics["best_epoch"] == score.best_epoch
    assert run.data.metrics["gap_acc_at_best"] == score.gap_at_best
    assert run.data.metrics["reward"] == score.reward


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (TrialState.RUNNING, "RUNNING"),
        (TrialState.INTERRUPTED, "KILLED"),
        (TrialState.COMPLETE, "FINISHED"),
        (TrialState.STOPPED_EARLY, "FINISHED"),
        (TrialState.PRUNED, "KILLED"),
        (TrialState.DIVERGED, "KILLED"),
        (TrialState.FAILED, "FAILED"),
    ],
)
def test_every_state_has_its_status_and_its_exact_word(
    state: TrialState, status: str, mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    record = trial(state=state, reason="because of this")
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(record, None if state is TrialState.FAILED else score_of(record))
    run = runs_of(client)["trial-0000"]
    assert run.info.status == status
    assert run.data.tags["zeroin.state"] == state.value
    assert run.data.tags["zeroin.reason"] == "because of this"
    assert ("reward" in run.data.metrics) == (state.is_finished and state is not TrialState.FAILED)


def test_what_is_not_finite_never_reaches_a_chart_as_a_huge_number(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    epochs = (
        EpochRecord(epoch=1, metrics={"val_acc": 0.5, "train_loss": 1.0}, time_ms=START_MS),
        EpochRecord(epoch=2, metrics={"val_acc": math.nan, "train_loss": math.inf}, time_ms=START_MS + 1),
    )
    record = trial(state=TrialState.DIVERGED, epochs=epochs)
    nothing = Score(reward=-math.inf, best_value=math.nan, best_epoch=0, gap_at_best=math.nan)
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(record, nothing)
    run = runs_of(client)["trial-0000"]
    assert set(run.data.metrics) == {"val_acc", "train_loss", "log10 model.learning_rate"}
    history = client.get_metric_history(run.info.run_id, "val_acc")
    assert [math.isnan(row.value) for row in sorted(history, key=lambda row: row.step)] == [False, True]
    assert [row.value for row in client.get_metric_history(run.info.run_id, "train_loss")] == [1.0]


def test_metric_names_that_mlflow_refuses_are_made_acceptable(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    epoch = EpochRecord(epoch=1, metrics={"acc@5": 0.5, "../top": 1.0, "/abs//x": 2.0, "val/acc": 3.0}, time_ms=1)
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(trial(state=TrialState.RUNNING, epochs=(epoch,)), None)
    assert runs_of(client)["trial-0000"].data.metrics == {"acc_5": 0.5, "_/top": 1.0, "abs/x": 2.0, "val/acc": 3.0}


@pytest.mark.slow
def test_a_batch_larger_than_mlflow_takes_arrives_whole(mlflow_uri: str, client: MlflowClient, tmp_path: Path) -> None:
    epochs = tuple(
        EpochRecord(epoch=epoch, metrics={f"m{index}": float(epoch) for index in range(7)}, time_ms=START_MS + epoch)
        for epoch in range(1, 301)
    )
    many = {f"model.p{index:03d}": index for index in range(230)}
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(trial(epochs=epochs, hyperparameters=many), None)
    run = runs_of(client)["trial-0000"]
    assert len(run.data.params) == 230
    assert all(len(client.get_metric_history(run.info.run_id, f"m{index}")) == 300 for index in range(7))
    assert run.info.status == "FINISHED"


def test_a_failed_study_says_so(mlflow_uri: str, client: MlflowClient, tmp_path: Path) -> None:
    with tracking(mlflow_uri, tmp_path) as tracker:
        tracker.publish_trial(trial(state=TrialState.RUNNING), None)
        tracker.fail("every trial failed")
    runs = runs_of(client)
    assert (runs["digits"].info.status, runs["trial-0000"].info.status) == ("FAILED", "KILLED")
    assert runs["digits"].data.tags["zeroin.reason"] == "every trial failed"


def test_the_study_has_ranges_stage_bests_and_result(mlflow_uri: str, client: MlflowClient, tmp_path: Path) -> None:
    import mlflow

    study = definition()
    trials = [trial(0), trial(1), trial(2, stage="fine")]  # one fewer than planned: all that a budget allowed
    with tracking(mlflow_uri, tmp_path, study=study) as tracker:
        tracker.publish_stage(opening(0))
        tracker.publish_result(study_record(*trials, study=study), RESULT)
        tracker.interrupt("too late: the study is over")
    run = runs_of(client)["digits"]
    assert (run.info.status, run.info.end_time) == ("FINISHED", RESULT.time_ms)
    tags = run.data.tags
    assert (tags["zeroin.state"], tags["zeroin.best_trial"], tags["zeroin.study"]) == (
        "complete",
        "trial-0001",
        "digits",
    )
    assert tags["zeroin.hardware.device"] == "cpu"
    assert tags["zeroin.version.mlflow"] == mlflow.__version__
    assert run.data.params == {}

    def history(key: str) -> list[tuple[int, float]]:
        return [(row.step, row.value) for row in client.get_metric_history(run.info.run_id, key)]

    assert history("ranges/model.learning_rate.high") == [(1, 1.0), (2, 0.1)]
    assert history("ranges/model.optimizer.n_choices") == [(1, 2.0), (2, 2.0)]
    bests = [score_of(trials[1]), score_of(trials[2])]
    assert history("stages/best_val_acc") == [(1, bests[0].best_value), (2, bests[1].best_value)]
    assert history("stages/best_reward") == [(1, bests[0].reward), (2, bests[1].reward)]
    assert run.data.metrics["best_val_acc"] == bests[0].best_value  # of the result's best trial, whatever came later
    assert history("test_acc_members") == [(1, 0.9), (2, 0.95)]
    assert run.data.metrics["test_acc"] == pytest.approx(0.925), "not the last member's"
    assert run.data.metrics["test_acc_ensemble"] == 0.97
    assert "test_loss_ensemble" not in run.data.metrics
    assert (run.data.metrics["n_epochs"], run.data.metrics["seconds"]) == (12.0, 12.5)

    def artifact(name: str) -> str:
        return mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{name}")

    assert "s3cret" not in artifact("study.yaml")
    assert "postgresql://me:***@db/mlflow" in artifact("study.yaml")
    ranges = json.loads(artifact("ranges.json"))
    assert [stage["name"] for stage in ranges] == ["coarse", "fine"]
    assert ranges[1]["decisions"][0]["figures"] == {"p_value": None}
    assert json.loads(artifact("result.json"))["best_trial_number"] == 1
    assert run.info.artifact_uri.startswith(str(tmp_path / "artifacts" / "digits"))


def test_confirmation_and_refit_are_runs_too_and_count_for_no_stage(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    with tracking(mlflow_uri, tmp_path) as tracker:
        for stage in ("confirm", "refit"):
            tracker.publish_trial(replace(trial(), key=f"{stage}-seed0", number=None, stage=stage), score_of(trial()))
    runs = runs_of(client)
    assert runs["confirm-seed0"].data.tags["zeroin.stage"] == "confirm"
    assert runs["refit-seed0"].data.tags["mlflow.parentRunId"] == runs["digits"].info.run_id
    assert not [name for name in runs["digits"].data.metrics if name.startswith("stages/")]


@pytest.mark.slow
def test_delivery_is_quiet_and_publishing_does_not_wait(
    mlflow_uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with tracking(mlflow_uri, tmp_path) as tracker:
        began = time.perf_counter()
        for number in range(20):
            tracker.publish_trial(trial(number), score_of(trial(number)))
        assert time.perf_counter() - began < 0.1
        assert tracker.busy_seconds >= 0.0
    assert tracker.busy_seconds > 0.0
    assert tracker.busy_cpu_seconds > 0.0
    out = capfd.readouterr()
    assert (out.out, out.err) == ("", "")


@pytest.mark.slow
def test_a_thread_that_ended_is_forgotten(mlflow_uri: str, tmp_path: Path) -> None:
    import gc
    import threading

    def n_threads() -> int:
        gc.collect()
        # Not `isinstance`: it asks every object for its class, which some of torch's answer with a warning.
        threads = (each for each in gc.get_objects() if issubclass(type(each), threading.Thread))
        return sum(thread.name == "zeroin-mlflow" for thread in threads)

    before = n_threads()
    for uid in ("one", "two"):
        with tracking(mlflow_uri, tmp_path, study=definition(uid), uid=uid) as tracker:
            tracker.publish_trial(trial(), None)
        del tracker
    assert n_threads() <= before


@pytest.mark.slow
def test_importing_the_package_imports_no_mlflow() -> None:
    code = "import sys, search.tracking; assert not {'mlflow', 'torch', 'optuna'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)

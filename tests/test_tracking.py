from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from search.search_space import Choices, Dimension, LogRange, SearchSpace
from search.study_definition import (
    ClassSpec,
    Direction,
    NarrowRule,
    Objective,
    PrunerSettings,
    Resources,
    ScheduleHorizon,
    SearchStage,
    StudyDefinition,
)
from search.study_record import (
    NarrowedSpace,
    RangeChange,
    RangeDecision,
    ScoredTrial,
    StageOpening,
    StudyRecord,
    StudyResult,
    StudyState,
)
from search.tracking import MlflowTracker, delete_study
from search.trial import EpochRecord, Score, TrialRecord, TrialState

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

METRICS = ("train_loss", "train_acc", "val_loss", "val_acc", "gap_acc", "learning_rate")
START_MS = 1_700_000_000_000
UID = "0a1b2c3d4e5f"


def space(high: float = 1.0) -> SearchSpace:
    limits = LogRange(low=1e-7, high=10.0)
    return SearchSpace(
        dimensions=(
            Dimension(name="model.learning_rate", range=LogRange(low=1e-5, high=high), limits=limits),
            Dimension(
                name="model.optimizer", range=Choices(values=("sgd", "adamw")), limits=Choices(values=("sgd", "adamw"))
            ),
        )
    )


def definition(name: str = "digits", *, n_trials: int = 2) -> StudyDefinition:
    return StudyDefinition(
        study=name,
        seed=0,
        model=ClassSpec(class_path="lightning_modules.ConvNet"),
        data=None,
        trainer={},
        objective=Objective(monitor="val_acc", direction=Direction.MAXIMIZE, gap_weight=0.0, gap_tolerance=0.0),
        schedule_horizon=ScheduleHorizon.STUDY,
        space=space(),
        stages=tuple(
            SearchStage(name=stage, n_trials=n_trials, max_epochs=3, sampler="random", narrow=NarrowRule(rule="none"))
            for stage in ("coarse", "fine")
        ),
        pruner=PrunerSettings(name="none", n_startup_trials=0, n_warmup_epochs=0),
        early_stopping=None,
        resources=Resources(devices_per_trial=1, trials_per_device=1),
        finish=None,
        tracking_uri="postgresql://me:s3cret@db/mlflow",
    )


def trial(
    number: int = 0, *, n_epochs: int = 3, state: TrialState = TrialState.COMPLETE, **changes: Any
) -> TrialRecord:
    started = START_MS + number * 10_000
    epochs = tuple(
        EpochRecord(
            epoch=epoch,
            metrics={name: (number + 1) * epoch / (7 + index) for index, name in enumerate(METRICS)},
            time_ms=started + epoch * 1000,
        )
        for epoch in range(1, n_epochs + 1)
    )
    record = TrialRecord(
        key=f"trial-{number:04d}",
        number=number,
        stage="coarse",
        hyperparameters={"model.learning_rate": 1e-05 * (number + 1), "model.optimizer": "sgd"},
        seed=number,
        n_epochs=3,
        horizon_epochs=3,
        epochs=epochs,
        state=state,
        started_ms=started,
        finished_ms=started + n_epochs * 1000 + 500 if state.is_finished else None,
    )
    return replace(record, **changes)


def score_of(record: TrialRecord) -> Score:
    best = record.curve("val_acc")[-1]
    return Score(reward=best - 0.125, best_value=best, best_epoch=len(record.epochs), gap_at_best=0.25)


def opening(index: int, *, high: float = 1.0) -> StageOpening:
    decision = RangeDecision(
        name="model.learning_rate",
        change=RangeChange.NARROWED,
        before="[1e-05, 1]",
        after=f"[1e-05, {high}]",
        reason="the best trials are there.",
        figures={"p_value": math.nan},
    )
    return StageOpening(
        index=index,
        name=("coarse", "fine")[index],
        narrowed=NarrowedSpace(space=space(high), decisions=(decision,)),
        first_trial_number=2 * index,
        time_ms=START_MS + index,
    )


def study_record(*records: TrialRecord, study: StudyDefinition) -> StudyRecord:
    return StudyRecord(
        definition=study,
        state=StudyState.RUNNING,
        openings=(opening(0), opening(1, high=0.1)),
        trials=tuple(ScoredTrial(record=record, score=score_of(record)) for record in records),
        result=None,
        storage="journal",
        tracking_uri="sqlite",
        directory="/nowhere",
    )


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


@contextmanager
def tracking(
    uri: str, directory: Path, *, study: StudyDefinition | None = None, uid: str = UID, n_notices: int = 0
) -> Iterator[MlflowTracker]:
    """A tracker whose block ends with everything delivered."""
    notices: list[str] = []
    tracker = MlflowTracker(
        tracking_uri=uri,
        artifact_root=directory / "artifacts",
        definition=study or definition(),
        study_uid=uid,
        tags={"zeroin.hardware.device": "cpu"},
        notify=notices.append,
        flush_seconds=0.01,
    )
    yield tracker
    assert tracker.close(timeout_seconds=60.0) == ()
    assert len(notices) == n_notices


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=mlflow_uri)


def runs_of(client: MlflowClient, study: str = "digits") -> dict[str, Run]:
    """Runs by name; fails if a name is there twice."""
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=5000)
    by_name = {str(run.info.run_name): run for run in runs}
    assert len(by_name) == len(runs)
    return by_name


def contents(client: MlflowClient, study: str = "digits") -> dict[str, Any]:
    """All that MLflow knows of the study, without ids and without what depends on the wall clock."""
    found: dict[str, Any] = {}
    for name, run in runs_of(client, study).items():
        history = {
            key: sorted(
                (row.step, row.timestamp, repr(row.value)) for row in client.get_metric_history(run.info.run_id, key)
            )
            for key in run.data.metrics
        }
        tags = {key: text for key, text in run.data.tags.items() if key not in ("mlflow.parentRunId",) and text}
        times = (run.info.start_time, run.info.end_time) if name != study else None
        found[name] = (run.info.status, times, tags, dict(run.data.params), history)
    return found


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
    trials = [trial(0), trial(1), trial(2, stage="fine"), trial(3, stage="fine")]
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
    bests = [score_of(trials[1]), score_of(trials[3])]
    assert history("stages/best_val_acc") == [(1, bests[0].best_value), (2, bests[1].best_value)]
    assert history("stages/best_reward") == [(1, bests[0].reward), (2, bests[1].reward)]
    assert run.data.metrics["best_val_acc"] == bests[0].best_value  # of the result's best trial, whatever came later
    assert history("test_acc") == [(1, 0.9), (2, 0.95)]
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
    from search.tracking import runs

    monkeypatch.setattr(runs, "_PAGE_RUNS", 2)
    for _ in range(2):
        with tracking(mlflow_uri, tmp_path) as tracker:
            for number in range(5):
                tracker.publish_trial(trial(number), score_of(trial(number)))
    assert len(runs_of(client)) == 6


def test_a_store_that_cannot_be_reached_stops_nobody_and_is_reported(tmp_path: Path) -> None:
    notices: list[str] = []
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    began = time.perf_counter()
    tracker = MlflowTracker(
        tracking_uri=f"sqlite:///{blocked}/mlflow.db",
        artifact_root=tmp_path / "artifacts",
        definition=definition(),
        study_uid=UID,
        tags={},
        notify=notices.append,
        flush_seconds=0.01,
    )
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
    tracker = MlflowTracker(
        tracking_uri=uri,
        artifact_root=tmp_path / "artifacts",
        definition=definition(),
        study_uid=UID,
        tags={},
        notify=notices.append,
        flush_seconds=0.01,
    )
    tracker.publish_trial(trial(), score_of(trial()))
    time.sleep(0.5)
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
    tracker = MlflowTracker(
        tracking_uri=mlflow_uri,
        artifact_root=tmp_path / "artifacts",
        definition=definition(),
        study_uid=UID,
        tags={},
        notify=notices.append,
        flush_seconds=0.01,
    )
    tracker.publish_trial(trial(0, hyperparameters={"model.π?": 1}), None)
    tracker.publish_trial(trial(1), score_of(trial(1)))
    tracker.publish_trial(trial(2, hyperparameters={"model.π?": 1}), None)
    assert tracker.close(timeout_seconds=60.0) == ()  # a later attempt would deliver no more than this one
    assert not tracker.is_failing
    assert "trial-0000" in notices[0]
    assert "trial-0000, trial-0002" in notices[1]
    assert len(notices) == 2
    assert runs_of(client)["trial-0001"].info.status == "FINISHED"


def test_closing_while_mlflow_fails_waits_for_one_more_attempt_only(tmp_path: Path) -> None:
    notices: list[str] = []
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    tracker = MlflowTracker(
        tracking_uri=f"sqlite:///{blocked}/mlflow.db",
        artifact_root=tmp_path / "artifacts",
        definition=definition(),
        study_uid=UID,
        tags={},
        notify=notices.append,
    )
    tracker.publish_trial(trial(), None)
    deadline = time.monotonic() + 60.0
    while not tracker.is_failing and time.monotonic() < deadline:
        time.sleep(0.01)
    assert tracker.is_failing
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

    calls: list[str] = []

    def first_fails_then_is_slow(uri: str, artifacts: str) -> None:
        calls.append(uri)
        if len(calls) == 1:
            raise OSError("unreachable")
        time.sleep(1.0)

    monkeypatch.setattr(module, "ensure_database", first_fails_then_is_slow)
    notices: list[str] = []
    tracker = MlflowTracker(
        tracking_uri=mlflow_uri,
        artifact_root=tmp_path / "artifacts",
        definition=definition(),
        study_uid=UID,
        tags={},
        notify=notices.append,
    )
    tracker.publish_trial(trial(), None)
    deadline = time.monotonic() + 60.0
    while len(calls) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert tracker.close(timeout_seconds=0.3) == ("trial-0000",)
    time.sleep(1.5)  # the slow attempt succeeds, too late
    assert tracker.is_failing
    assert tracker.close(timeout_seconds=0.0) == ("trial-0000",)
    assert not any("again;" in notice for notice in notices)


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
def test_after_close_gave_up_nothing_is_written_and_a_second_tracker_takes_over(
    mlflow_uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    notices: list[str] = []
    hurried = MlflowTracker(
        tracking_uri=mlflow_uri,
        artifact_root=tmp_path / "artifacts",
        definition=definition(),
        study_uid=UID,
        tags={},
        notify=notices.append,
        flush_seconds=0.01,
    )
    for number in range(50):
        hurried.publish_trial(trial(number), score_of(trial(number)))
    left = hurried.close(timeout_seconds=0.0)
    assert left
    assert len(notices) == 1
    with tracking(mlflow_uri, tmp_path) as tracker:
        for number in range(50):
            tracker.publish_trial(trial(number), score_of(trial(number)))
    assert len(runs_of(client)) == 51


def test_importing_the_package_imports_no_mlflow() -> None:
    code = "import sys, search.tracking; assert not {'mlflow', 'torch', 'optuna'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)

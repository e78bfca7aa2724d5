from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tracked_study import contents

N_KILLS = 25

# A coordinator of a made-up study of ten trials: a file of progress is its epoch log. Each life publishes what the
# log holds, then goes on; the script's process imports MLflow once and forks one life after another.
COORDINATOR = """
import os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path

import mlflow  # so that lives begin at once

from search.pruner_settings import NoPruning
from search.search_space import Dimension, LogRange, SearchSpace
from search.study_definition import *
from search.study_record import *
from search.tracking import MlflowTracker
from search.trial import EpochRecord, Score, TrialRecord, TrialState

directory, seed, n_kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
log = directory / "progress"
range_ = LogRange(low=1e-5, high=1.0)
space = SearchSpace(dimensions=(Dimension(name="model.learning_rate", range=range_, limits=range_),))
definition = StudyDefinition(
    study="digits", seed=0, model=ClassSpec(class_path="a.B"), data=None, trainer={},
    objective=Objective(monitor="val_acc", direction=Direction.MAXIMIZE, gap_weight=0.0, gap_tolerance=0.0),
    schedule_horizon=ScheduleHorizon.STUDY, space=space,
    stages=tuple(
        SearchStage(name=name, n_trials=5, max_epochs=6, sampler="random", narrow=NarrowRule(rule="none"))
        for name in ("coarse", "fine")
    ),
    pruner=NoPruning(), early_stopping=None,
    resources=Resources(devices_per_trial=1, trials_per_device=1), finish=None,
)
ENDS = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.STOPPED_EARLY, TrialState.DIVERGED, TrialState.FAILED)


def record_at(number, step):
    began = 1_000_000 + 100 * number
    epochs = tuple(
        EpochRecord(
            epoch=epoch,
            metrics={f"m{i}": float("nan") if (epoch + i) % 7 == 0 else number + epoch / (i + 1) for i in range(6)}
            | {"val_acc": epoch / 10},
            time_ms=began + epoch,
        )
        for epoch in range(1, min(step, 6) + 1)
    )
    over = step > 6
    return TrialRecord(
        key=f"trial-{number:04d}", number=number, stage="coarse" if number < 5 else "fine",
        hyperparameters={"model.learning_rate": 1e-3 * (number + 1)}, seed=number, n_epochs=6, horizon_epochs=6,
        epochs=epochs, state=ENDS[number % 5] if over else TrialState.RUNNING, reason="so" if over else "",
        started_ms=began, finished_ms=began + 50 if over else None,
    )


def publish(tracker, number, step):
    record = record_at(number, step)
    failed = record.state is TrialState.FAILED
    score = None if failed else Score(reward=number / 10, best_value=0.6, best_epoch=6, gap_at_best=0.0)
    tracker.publish_trial(record, score)


def opening(index):
    return StageOpening(
        index=index, name=("coarse", "fine")[index], narrowed=NarrowedSpace(space=space, decisions=()),
        first_trial_number=5 * index, time_ms=900_000 + index,
    )


def live():
    tracker = MlflowTracker(
        tracking_uri=f"sqlite:///{directory}/mlflow.db", artifact_root=directory / "artifacts",
        definition=definition, study_uid="0a1b2c3d", tags={}, notify=lambda text: None, flush_seconds=0.02,
    )
    done = int(log.read_text()) if log.exists() else 0
    for number in range(10):
        if done > number * 8:
            publish(tracker, number, min(done - number * 8 - 1, 7))
    for position in range(done, 80):
        log.with_suffix(".new").write_text(str(position + 1))
        log.with_suffix(".new").replace(log)
        if position % 40 == 0:
            for index in range(position // 40 + 1):
                tracker.publish_stage(opening(index))
        publish(tracker, position // 8, position % 8)
        time.sleep(0.02)
    for index in range(2):
        tracker.publish_stage(opening(index))
    assert tracker.close(timeout_seconds=60.0) == ()


chance = random.Random(seed)
for _ in range(n_kills):
    child = os.fork()
    if child == 0:
        live()
        os._exit(0)
    time.sleep(chance.uniform(0.05, 0.7))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
child = os.fork()
if child == 0:
    live()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def coordinate(directory: Path, *, seed: int, n_kills: int) -> None:
    script = directory / "coordinator.py"
    script.write_text(COORDINATOR)
    done = subprocess.run(
        [sys.executable, str(script), str(directory), str(seed), str(n_kills)],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_a_coordinator_killed_at_random_moments_leaves_what_an_undisturbed_one_does(
    copied_mlflow_database: Callable[[Path], Path], tmp_path: Path
) -> None:
    import mlflow

    for name in ("calm", "killed"):
        copied_mlflow_database(tmp_path / name / "mlflow.db")
    coordinate(tmp_path / "calm", seed=0, n_kills=0)
    coordinate(tmp_path / "killed", seed=7, n_kills=N_KILLS)
    uris = [f"sqlite:///{tmp_path / name / 'mlflow.db'}" for name in ("calm", "killed")]
    calm, killed = (contents(mlflow.MlflowClient(tracking_uri=uri)) for uri in uris)
    assert set(calm) == {"digits", *(f"trial-{number:04d}" for number in range(10))}
    assert [name for name, (status, *_) in calm.items() if status == "RUNNING"] == ["digits"]
    assert killed == calm


CREATION = """
import sys
from search.tracking.database import ensure_database
from search.tracking.quiet import prepare_environment
prepare_environment()
import mlflow
uri = f"sqlite:///{sys.argv[1]}?timeout=60"
ensure_database(uri, sys.argv[1] + "-artifacts")
mlflow.MlflowClient(uri).create_experiment(sys.argv[2])
"""


def create(target: Path, experiment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CREATION), str(target), experiment],
        cwd=Path(__file__).parent.parent,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_database_whose_creation_was_killed_or_raced_is_whole(tmp_path: Path) -> None:
    import mlflow

    target = tmp_path / "state" / "mlflow.db"
    killed = create(target, "killed")
    deadline = time.monotonic() + 60.0
    while not list(target.parent.glob("*.creating-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.Random(3).uniform(0.0, 1.0))
    killed.kill()
    killed.communicate()
    assert not target.exists()  # nothing half-made under the final name
    rivals = [create(target, name) for name in ("a", "b")]
    for rival in rivals:
        _, errors = rival.communicate(timeout=120)
        assert rival.returncode == 0, errors
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{target}")
    assert {experiment.name for experiment in client.search_experiments()} == {"Default", "a", "b"}
    assert len(list(target.parent.glob("*.creating-*[0-9]"))) == 1  # the killed one's, swept up once it is old enough

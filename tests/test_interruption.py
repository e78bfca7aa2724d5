"""Ctrl-C, once and twice, a second coordinator, and the way back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from command_line import CommandLine, children, interrupt, of_workers, wait_for
from forked_workers import WorkerTemplate

from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_record import StudyState
from search.trial import TrialState

pytestmark = pytest.mark.slow

STUDY = """
study: held
seed: 5
model: {class_path: held_net.HeldNet, init_args: {in_channels: 1, n_classes: 10}}
data: {class_path: lightning_modules.DigitsDataModule}
objective: {monitor: val_acc, direction: maximize}
space:
  model.learning_rate: {log: [1.0e-3, 1.0e-1]}
stages:
  - {name: only, n_trials: 4, max_epochs: 3, sampler: random}
pruner: none
"""


class Held(CommandLine):
    """The study above, in a directory of its own."""

    @property
    def hold(self) -> Path:
        """While it exists, no trial leaves its second epoch."""
        return self.directory / "hold"

    def trained(self) -> dict[str, list[int]]:
        """Epochs that were trained, by trial, in their order."""
        paths = (self.home / "trials" / "held").glob("*/trained.txt")
        return {path.parent.name: [int(line) for line in path.read_text().split()] for path in paths}

    def statuses(self) -> list[str]:
        """Statuses of all runs in MLflow."""
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{self.home / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("held")
        assert experiment is not None
        return [run.info.status for run in client.search_runs([experiment.experiment_id])]


@pytest.fixture
def held(tmp_path: Path, copied_mlflow_database: Callable[[Path], Path]) -> Held:
    zeroin = Held(directory=tmp_path)
    copied_mlflow_database(zeroin.home / "mlflow.db")
    (tmp_path / "held_net.py").write_text(Path(__file__).with_name("held_net.py").read_text())
    (tmp_path / "held.yaml").write_text(STUDY)
    return zeroin


def test_ctrl_c_once_and_twice_and_a_second_coordinator(held: Held, worker_template: WorkerTemplate) -> None:
    state = StateDirectory(root=held.home)
    held.hold.touch()
    with held.started("run", "held.yaml", "--devices", "cpu:2", "--plain") as first:
        wait_for(lambda: held.trained() == {"trial-0000": [1], "trial-0001": [1]})
        second = held.called("resume", "held", "--devices", "cpu:1", "--plain")
        assert second.returncode == 2, second.stdout
        assert second.stderr.count("\n") == 1
        assert f"process {first.pid} " in second.stderr
        assert read_study("held", directory=state).state is StudyState.RUNNING
        workers = children(first)
        interrupt(first)
        time.sleep(1.0)
        assert first.poll() is None  # the epoch under way is finished, however long it takes
        held.hold.unlink()
        released = time.monotonic()
        _, errors = first.communicate(timeout=60)
        assert time.monotonic() - released < 15.0
    assert first.returncode == 130, errors
    assert errors.count("\n") == 1
    assert "zeroin resume held" in errors
    assert not any(each.is_running() for each in workers)
    assert held.trained() == {"trial-0000": [1, 2], "trial-0001": [1, 2]}
    assert sorted(held.statuses()) == ["KILLED", "KILLED", "KILLED"]
    stopped = read_study("held", directory=state)
    assert stopped.state is StudyState.UNFINISHED
    assert [trial.record.state for trial in stopped.trials] == [TrialState.INTERRUPTED] * 2

    held.hold.touch()
    with held.started("run", "held.yaml", "--devices", "cpu:2", "--plain") as process:
        # They go on with their third epoch, so none of them trains anything until it is released.
        wait_for(lambda: len(of_workers(children(process))) == 2 and "RUNNING" in held.statuses())
        interrupt(process)
        time.sleep(0.5)
        interrupt(process)
        pressed = time.monotonic()
        output, errors = process.communicate(timeout=60)
        assert time.monotonic() - pressed < 10.0
    assert process.returncode == 130, errors
    assert "resumed, 0 of 4 trials are done" in output
    assert "zeroin resume held" in errors
    assert "Traceback" not in errors

    held.hold.unlink()
    with worker_template.used():
        done = held.called("resume", "held", "--devices", "cpu:1", "--plain")
    assert done.returncode == 0, done.stderr
    assert held.trained() == {f"trial-{number:04d}": [1, 2, 3] for number in range(4)}
    assert sorted(held.statuses()) == ["FINISHED"] * 5
    record = read_study("held", directory=state)
    assert record.state is StudyState.FINISHED
    assert [trial.record.state for trial in record.trials] == [TrialState.COMPLETE] * 4

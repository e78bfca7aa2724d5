"""Whole studies on a Ray cluster of several nodes: one node is lost, the coordinator is killed, engines take turns."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
from command_line import ROOT, CommandLine, is_alive, of_workers, wait_for
from engine_conformance import events_until, living_children, lost, message_in
from forked_workers import WorkerTemplate

from search.engines.ray_cluster import RayEngine
from search.messages import WorkerReady
from search.package_version import zeroin_version
from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_record import StudyRecord
from search.trial import TrialState

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'zeroin[ray]'"),
]

STUDY = """
study: held
seed: 5
model: {class_path: held_net.HeldNet, init_args: {in_channels: 1, n_classes: 10}}
data: {class_path: lightning_modules.DigitsDataModule, init_args: {batch_size: 256}}
objective: {monitor: val_acc, direction: maximize}
space:
  model.learning_rate: {log: [1.0e-3, 1.0e-1]}
stages:
  - {name: only, n_trials: 4, max_epochs: 3, sampler: random}
pruner: none
finish: null
"""


SMALL = {"include_dashboard": False, "object_store_memory": 100 << 20}


class Held(CommandLine):
    """The study above, in a directory of its own."""

    @property
    def hold(self) -> Path:
        """While it exists, no trial leaves its first epoch."""
        return self.directory / "hold"

    def trained(self, key: str) -> list[int]:
        """Epochs that a trial really trained, in order."""
        return [int(line) for line in (self._trial(key) / "trained.txt").read_text().split()]

    def n_begun(self) -> int:
        """Trials with an epoch that is on record and can be continued from."""
        logs = [log for log in self._trial("").glob("*/epochs.jsonl") if log.with_name("last.ckpt").exists()]
        return sum('"epoch"' in log.read_text() for log in logs)

    def n_held(self) -> int:
        """Trials whose process is alive and past the first epoch."""
        noted = [note.read_text() for note in self._trial("").glob("*/held_by.txt")]
        return sum(psutil.pid_exists(int(pid)) and is_alive(psutil.Process(int(pid))) for pid in noted if pid)

    def n_checkpoints(self) -> int:
        """Checkpoints in the directory ``store``."""
        return len(list(self.directory.glob("store/held-*/*/last.ckpt")))

    def record(self) -> StudyRecord:
        return read_study("held", directory=StateDirectory(root=self.home))

    def _trial(self, key: str) -> Path:
        return self.home / "trials" / "held" / key


@dataclass(kw_only=True)
class Nodes:
    """A cluster whose head runs no trials, and its two other nodes with one pretended GPU each."""

    address: str
    cluster: Any
    others: list[Any] = field(default_factory=list)

    def add(self, **options: Any) -> None:
        """Have one more node join."""
        self.others.append(self.cluster.add_node(num_cpus=1, num_gpus=1, **SMALL, **options))

    def remove(self) -> None:
        """Have one vanish, with all of its processes."""
        self.cluster.remove_node(self.others.pop(), allow_graceful=False)

    def settle(self) -> None:
        """Wait until the cluster knows who has joined and who has vanished."""
        self.cluster.wait_for_nodes(timeout=90)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    directory = tempfile.mkdtemp(prefix="ray-")  # pytest's own would be too long for the sockets in it
    private = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on loopback
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": directory,
    }
    with mock.patch.dict(os.environ, private):
        from ray.cluster_utils import Cluster  # reads the environment when it is imported

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, **SMALL})
        try:
            made = Nodes(address=cluster.address, cluster=cluster)
            made.add()
            made.add()
            yield made
        finally:
            cluster.shutdown()
            shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def make_held(
    tmp_path_factory: pytest.TempPathFactory, copied_mlflow_database: Callable[[Path], Path]
) -> Callable[[str], Held]:
    def make(name: str) -> Held:
        held = Held(directory=tmp_path_factory.mktemp(name))
        copied_mlflow_database(held.home / "mlflow.db")
        (held.directory / "held.yaml").write_text(STUDY)
        (held.directory / "held_net.py").write_text(Path(__file__).with_name("held_net.py").read_text())
        held.hold.touch()
        return held

    return make


@pytest.fixture(scope="module")
def survivor(nodes: Nodes, make_held: Callable[[str], Held]) -> Held:
    """The study, begun on this machine and ended on the cluster, of whose two nodes one was lost meanwhile."""
    held = make_held("survivor")
    with held.started("run", "held.yaml", "--devices", "cpu:1", "--plain") as process:
        wait_for(lambda: held.n_begun() == held.n_held() == 1 or process.poll() is not None)
        process.kill()
    wait_for(lambda: held.n_held() == 0)
    with held.started("resume", "held", "--engine", "ray", "--ray-address", nodes.address, "--plain") as process:
        wait_for(lambda: held.n_begun() == held.n_held() == 2 or process.poll() is not None)
        nodes.remove()
        wait_for(lambda: held.n_held() == 1)  # what is left of the node may live for a moment
        held.hold.unlink()
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    assert errors == ""
    assert "raylet" not in output
    return held


def test_the_trials_of_a_lost_node_go_on_elsewhere(survivor: Held) -> None:
    trials = [trial.record for trial in survivor.record().trials]
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert [len(trial.epochs) for trial in trials] == [3] * 4
    assert sorted(trial.n_retries for trial in trials) == [0, 0, 0, 1]
    for trial in trials:  # nothing but the epoch under way was lost
        assert survivor.trained(trial.key) == [1, 2, 3]


def test_a_killed_coordinator_leaves_nothing_behind_and_another_engine_goes_on(
    nodes: Nodes, survivor: Held, make_held: Callable[[str], Held], worker_template: WorkerTemplate
) -> None:
    held = make_held("turns")
    on_ray = ("--engine", "ray", "--ray-address", nodes.address, "--checkpoints", "store")
    with held.started("run", "held.yaml", *on_ray, "--plain") as process:
        wait_for(lambda: held.n_checkpoints() == 1 or process.poll() is not None)
        workers = of_workers(living_children())
        drivers = psutil.Process(process.pid).children()
        assert workers
        assert drivers
        process.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs([*workers, *drivers], timeout=60)
        assert not alive
    held.hold.unlink()
    for copy in held.home.glob("trials/held/*/last.ckpt"):  # as on a machine that has never seen them
        copy.unlink()
    with worker_template.used():
        done = held.called("resume", "held", "--devices", "cpu:1", "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    for trial in held.record().trials:
        assert held.trained(trial.record.key) == [1, 2, 3]
    assert held.n_checkpoints() == 3  # those of the best
    assert comparable(held.record()) == comparable(survivor.record())


def comparable(record: StudyRecord) -> list[Any]:
    """All that engines must agree on: hyperparameters, metrics and ends of the trials."""
    return [
        (
            trial.record.hyperparameters,
            trial.record.state,
            [{k: v for k, v in epoch.metrics.items() if k != "epoch_seconds"} for epoch in trial.record.epochs],
        )
        for trial in record.trials
    ]


def test_a_node_lost_while_its_worker_starts_costs_nothing_and_others_may_join_if_they_are_of_our_version(
    nodes: Nodes, survivor: Held, tmp_path: Path
) -> None:
    nodes.add()  # beside the one that the survivor has left
    nodes.settle()
    notices: list[str] = []
    with mock.patch.dict(os.environ, {"CUDA_VISIBLE_DEVICES": ""}):
        engine = RayEngine(
            address=nodes.address, devices="gpu:3", devices_per_trial=1, trials_per_device=1, notify=notices.append
        )
    try:
        workers = {engine.start_worker(slot=slot) for slot in range(3)}
        wait_for(lambda: len(of_workers(living_children())) == 2)
        nodes.remove()
        (event,) = events_until(engine, 1)
        message_in(event, WorkerReady)
        while not notices:
            assert not engine.poll(timeout_seconds=10.0)
        assert "2 nodes with 1 GPU, 1 node with no GPUs: room for 2. The others start as nodes join." in notices[0]
        nodes.add()
        (other,) = events_until(engine, 1)
        message_in(other, WorkerReady)
        (third,) = workers - {event.worker, other.worker}

        metadata = tmp_path / "zeroin-0.0.1.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text("Metadata-Version: 2.1\nName: zeroin\nVersion: 0.0.1\n")
        nodes.add(env_vars={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
        reason = lost(engine, third).reason
        assert f"node {socket.gethostname()} has zeroin 0.0.1, the coordinator {zeroin_version()}: install" in reason
    finally:
        engine.close(timeout_seconds=0.0)

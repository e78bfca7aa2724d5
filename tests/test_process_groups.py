"""Groups of two real processes that train one trial together: as one worker to the coordinator, however they end."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import small_training
import torch
from command_line import is_alive, wait_for
from engine_conformance import living_children
from forked_workers import WorkerTemplate, environment_of
from small_training import Coordinator, comparable

from lightning_modules.callbacks.epoch_checkpoint import load_checkpoint
from search.engines.devices import plan_devices
from search.engines.engine import MessageReceived, WorkerLost
from search.engines.local import LocalEngine
from search.messages import (
    Action,
    Decision,
    EpochReport,
    FromWorker,
    Inspect,
    InspectionResult,
    ModelAssembly,
    TestAssignment,
    TestResult,
    ToWorker,
    TrialAssignment,
    TrialEnded,
    WorkerReady,
)
from search.worker.test_reading import read_test
from search.worker.training import train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
HEARTBEAT_TIMEOUT_SECONDS = 6.0


class Group:
    """The coordinator's side of an engine with one group of two CPU processes, started anew when it was lost."""

    def __init__(self) -> None:
        plan = plan_devices("cpu:2", devices_per_trial=2, trials_per_device=1)
        self.engine = LocalEngine(plan.slots, heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS)
        self.worker: int | None = None
        self.ready: WorkerReady | None = None

    def start(self) -> None:
        """Have a living group."""
        if self.worker is None:
            self.worker = self.engine.start_worker(slot=0)
            ready = self.receive()
            assert isinstance(ready, WorkerReady), ready
            self.ready = ready

    def send(self, message: ToWorker) -> None:
        assert self.worker is not None
        self.engine.send(self.worker, message)

    def receive(self, *, seconds: float = 120.0) -> FromWorker | WorkerLost:
        """Next thing that the group says, or its loss."""
        (event,) = self.events(1, seconds=seconds)
        return event

    def events(self, n: int, *, seconds: float = 120.0) -> list[FromWorker | WorkerLost]:
        events: list[FromWorker | WorkerLost] = []
        deadline = time.monotonic() + seconds
        while len(events) < n:
            for event in self.engine.poll(timeout_seconds=0.2):
                assert event.worker == self.worker
                events.append(event.message if isinstance(event, MessageReceived) else event)
                if isinstance(event, WorkerLost):
                    self.worker = None
            assert time.monotonic() < deadline, events
        assert len(events) == n, events
        return events

    def run(
        self, assignment: TrialAssignment, *, action: Callable[[EpochReport], Action] = lambda _: Action.CONTINUE
    ) -> tuple[list[EpochReport], TrialEnded]:
        """Run a trial to its end."""
        self.send(assignment)
        reports: list[EpochReport] = []
        while isinstance(said := self.receive(), EpochReport):
            reports.append(said)
            self.decide(said, action(said))
        assert isinstance(said, TrialEnded), said
        return reports, said

    def begin(self, assignment: TrialAssignment) -> EpochReport:
        """Have a trial go on after its first epoch."""
        self.send(assignment)
        first = self.receive()
        assert isinstance(first, EpochReport), first
        self.decide(first)
        return first

    def decide(self, report: EpochReport, action: Action = Action.CONTINUE) -> None:
        self.send(Decision(trial_key=report.trial_key, epoch=report.epoch, action=action))

    @property
    def ranks(self) -> list[psutil.Process]:
        """The living processes by rank."""
        found = [each for each in living_children() if "RANK" in environment_of(each)]
        return sorted(found, key=lambda each: int(environment_of(each)["RANK"]))


@pytest.fixture(scope="module")
def one_group(worker_template: WorkerTemplate) -> Iterator[Group]:
    """A group that is started as every group is; those that replace it are forked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        # What a job script leaves behind; none of it may reach the ranks.
        for name, value in {"RANK": "7", "WORLD_SIZE": "9", "SLURM_NTASKS": "4", "PL_GLOBAL_SEED": "1"}.items():
            patch.setenv(name, value)
        group = Group()
        group.start()
        with worker_template.used():
            yield group
        group.engine.close(timeout_seconds=0.0)
        assert group.ranks == []


@pytest.fixture
def group(one_group: Group) -> Group:
    one_group.start()
    return one_group


def assembly(name: str = "Net", *, data_args: Mapping[str, Any] | None = None, **model_args: Any) -> ModelAssembly:
    return small_training.assembly(
        model_class=f"tests.group_modules.{name}",
        model_args=model_args,
        data_class="tests.group_modules.Data",
        data_args=data_args or {},
    )


def digits(*, batch_size: int) -> ModelAssembly:
    model_args = {"in_channels": 1, "n_classes": 10, "norm": "none", "dropout": 0.0, "widths": [8, 16]}
    return small_training.assembly(
        model_class="lightning_modules.ConvNet",
        model_args={**model_args, "learning_rate": 0.15},
        data_class="lightning_modules.DigitsDataModule",
        data_args={"batch_size": batch_size},
    )


def assignment(directory: Path, what: ModelAssembly, **changes: Any) -> TrialAssignment:
    directory.mkdir(exist_ok=True)
    fields = {"assembly": what, "trial_key": directory.name, "seed": 3, "horizon_epochs": 3, **changes}
    return small_training.assignment(directory, **fields)


def seen(directory: Path, rank: int, epoch: int) -> dict[str, list[Any]]:
    """What a rank recorded in an epoch, of all of its batches."""
    lines = [json.loads(line) for line in (directory / f"rank{rank}.jsonl").read_text().splitlines()]
    mine = [line for line in lines if line["epoch"] == epoch]
    return {key: [each for line in mine for each in line[key]] for key in ("index", "noise", "drop")}


def test_a_group_is_one_worker_whose_ranks_are_told_apart_by_their_own_variables_only(group: Group) -> None:
    assert group.ready is not None
    assert group.ready.device == "2 x CPU, 1 thread"
    first, second = (environment_of(process) for process in group.ranks)
    assert group.ready.pid == group.ranks[0].pid
    for rank, environment in enumerate((first, second)):
        assert environment["RANK"] == environment["LOCAL_RANK"] == str(rank)
        assert environment["WORLD_SIZE"] == environment["LOCAL_WORLD_SIZE"] == "2"
        assert environment["OMP_NUM_THREADS"] == "1"
        assert not {"SLURM_NTASKS", "PL_GLOBAL_SEED"} & environment.keys()
    assert first["MASTER_PORT"] == second["MASTER_PORT"]
    assert os.getsid(group.ranks[1].pid) == group.ranks[1].pid  # a terminal's Ctrl-C does not reach it


def test_two_processes_with_half_the_batch_train_as_one_does(group: Group, tmp_path: Path) -> None:
    alone = Coordinator()
    ended = train(assignment(tmp_path / "alone", digits(batch_size=64)), alone)
    assert ended.error == ""
    together, ended = group.run(assignment(tmp_path / "together", digits(batch_size=32)))
    assert (ended.error, ended.notices) == ("", ())
    assert [report.epoch for report in together] == [1, 2, 3]
    for one, two in zip(alone.comparable, comparable(together), strict=True):
        assert one.keys() == two.keys()
        assert {"train_loss", "val_loss", "val_acc", "gap_loss", "gap_acc", "learning_rate"} <= one.keys()
        assert two == pytest.approx(one, rel=1e-4, abs=1e-5)
    assert together[-1].metrics["val_loss"] < 0.9 * together[0].metrics["val_loss"]  # there was something to learn
    one, two = (load_checkpoint(tmp_path / name / "last.ckpt") for name in ("alone", "together"))
    for name, weights in one["state_dict"].items():
        torch.testing.assert_close(weights, two["state_dict"][name], rtol=1e-3, atol=1e-5)


@pytest.fixture
def own_environment() -> Iterator[None]:
    """What a strategy leaves in this process is undone."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("own_environment")
def test_a_strategy_on_one_process_changes_nothing(tmp_path: Path) -> None:
    reports = []
    for strategy in ({}, {"strategy": "ddp"}):
        alone = Coordinator()
        what = replace(digits(batch_size=64), trainer_args=strategy)
        assert train(assignment(tmp_path / f"with{len(strategy)}", what, n_epochs=1), alone).error == ""
        reports.append(alone.comparable)
    assert reports[0] == reports[1]
    keys = ("with0", "with1")
    tested = TestAssignment(
        assembly=what, trial_keys=keys, directories=tuple(str(tmp_path / key) for key in keys), ensemble=False
    )
    read = read_test(tested)
    assert (read.error, read.n_samples) == ("", 539)
    assert read.members[0] == read.members[1]
    assert train(assignment(tmp_path / "again", what, n_epochs=1), Coordinator()).error == ""
    assert torch.distributed.get_world_size() == 1
    listening = psutil.Process().net_connections("inet")
    assert {each.laddr.ip for each in listening if each.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_nothing_but_loopback_listens(group: Group, tmp_path: Path) -> None:
    group.run(assignment(tmp_path / "t", assembly(), n_epochs=1))  # the ranks are connected now
    listening = [
        connection.laddr.ip
        for process in group.ranks
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_ranks_divide_the_data_shuffle_alike_and_draw_their_own_numbers(group: Group, tmp_path: Path) -> None:
    for num_workers in (0, 1):
        for attempt in ("first", "again"):
            directory = tmp_path / f"{attempt}{num_workers}"
            what = assembly(record=str(directory), data_args={"num_workers": num_workers})
            group.run(assignment(directory, what, n_epochs=2, horizon_epochs=2))
        other = tmp_path / f"other{num_workers}"
        what = assembly(record=str(other), data_args={"num_workers": num_workers})
        group.run(assignment(other, what, n_epochs=1, seed=4))
        first, second = seen(directory, 0, 0), seen(directory, 1, 0)
        assert sorted(first["index"] + second["index"]) == list(range(68))  # each sample once
        assert first["index"] != seen(directory, 0, 1)["index"]  # every epoch has an order of its own
        assert first["index"] != seen(other, 0, 0)["index"]  # and every seed
        assert not set(first["noise"]) & set(second["noise"])  # augmentation
        assert not set(first["drop"]) & set(second["drop"])  # dropout
        for rank in (0, 1):
            records = [
                (tmp_path / f"{each}{num_workers}" / f"rank{rank}.jsonl").read_text() for each in ("first", "again")
            ]
            assert records[0] == records[1]  # a function of the seed


def test_metrics_count_every_rank(group: Group, tmp_path: Path) -> None:
    (report,), _ = group.run(assignment(tmp_path / "t", assembly(), n_epochs=1))
    assert report.metrics["seen_in_all"] == 68
    # The module logs its own mean, a torchmetrics metric is reduced by itself: of even shares both are the same.
    assert report.metrics["val_acc"] == pytest.approx(report.metrics["val_synced"], abs=1e-6)
    (report,), _ = group.run(assignment(tmp_path / "nan", assembly(nan_rank=1), n_epochs=1))
    assert math.isnan(report.metrics["val_loss"])
    assert math.isnan(report.metrics["gap_loss"])
    assert report.metrics["val_acc"] <= 1.0


def test_stop_and_pause_are_obeyed_by_all_ranks_and_a_paused_trial_goes_on_exactly(
    group: Group, tmp_path: Path
) -> None:
    expected, _ = group.run(assignment(tmp_path / "whole", assembly()))
    reports, ended = group.run(assignment(tmp_path / "stopped", assembly()), action=lambda _: Action.STOP)
    assert (len(reports), ended.n_epochs, ended.error) == (1, 1, "")
    first, _ = group.run(assignment(tmp_path / "paused", assembly()), action=lambda _: Action.PAUSE)
    rest, ended = group.run(assignment(tmp_path / "paused", assembly(), resume=True, n_epochs_reported=1))
    assert ended.n_epochs == 3
    assert comparable(first + rest) == comparable(expected)
    again, _ = group.run(assignment(tmp_path / "paused", assembly(), resume=True))  # the coordinator lost them all
    assert comparable(again) == comparable(expected)


def test_a_module_that_ends_training_on_one_rank_ends_it_on_all(group: Group, tmp_path: Path) -> None:
    ranks = group.ranks
    reports, ended = group.run(assignment(tmp_path / "t", assembly("StopsOneRank")))
    assert (len(reports), ended.n_epochs, ended.stopped_by_module, ended.error) == (2, 2, True, "")
    assert group.ranks == ranks


def test_a_group_inspects_refits_and_reads_the_test_once(group: Group, tmp_path: Path) -> None:
    group.send(Inspect(assembly=assembly(), searched=()))
    inspected = group.receive()
    assert isinstance(inspected, InspectionResult)
    assert inspected.error == ""
    assert inspected.measures_gap
    assert {"val_loss", "val_acc", "val_synced"} <= set(inspected.metrics)
    for key, name in (("a", "Net"), ("b", "SharedOut")):
        _, ended = group.run(assignment(tmp_path / key, assembly(name), n_epochs=1, merge_validation=True))
        assert ended.error == ""
    group.send(
        TestAssignment(
            assembly=assembly(),
            trial_keys=("a", "b"),
            directories=(str(tmp_path / "a"), str(tmp_path / "b")),
            ensemble=True,
        )
    )
    result = group.receive()
    assert isinstance(result, TestResult)
    assert result.error == ""
    assert result.n_samples == 21  # an odd number, which two ranks would have to pad
    assert (result.members[0]["test_acc"] * 21) == pytest.approx(round(result.members[0]["test_acc"] * 21))
    assert result.ensemble.keys() == {"test_acc", "test_loss"}
    reports, _ = group.run(assignment(tmp_path / "after", assembly(), n_epochs=1))  # the ranks meet again
    assert len(reports) == 1


@pytest.mark.parametrize("victim", [1, 0])
def test_a_killed_rank_takes_its_group_along_and_the_trial_goes_on_exactly_in_a_new_one(
    victim: int, group: Group, tmp_path: Path
) -> None:
    expected, _ = group.run(assignment(tmp_path / "whole", assembly()))
    hang = tmp_path / "hang"
    first = group.begin(assignment(tmp_path / "parts", assembly(hang_file=str(hang))))
    wait_for(hang.exists)
    ranks = group.ranks
    os.kill(ranks[victim].pid, signal.SIGKILL)
    killed = time.monotonic()
    lost = group.receive(seconds=10.0)
    assert isinstance(lost, WorkerLost)
    assert lost.reason == f"worker process {ranks[victim].pid} (rank {victim} of 2): killed by SIGKILL"
    assert time.monotonic() - killed < 5.0
    assert not any(is_alive(each) for each in ranks)
    group.start()
    resumed = assignment(tmp_path / "parts", assembly(hang_file=str(hang)), resume=True, n_epochs_reported=1)
    rest, ended = group.run(resumed)
    assert ended.error == ""
    assert comparable([first, *rest]) == comparable(expected)


def test_a_rank_that_raises_is_heard_and_ends_its_group(group: Group, tmp_path: Path) -> None:
    ranks = group.ranks
    group.begin(assignment(tmp_path / "t", assembly(raising_rank=1)))
    ended, lost = group.events(2, seconds=30.0)  # rank 0 waits for rank 1's gradients
    assert isinstance(ended, TrialEnded)
    assert ended.error == "ValueError: rank 1 does not like it"
    assert "rank 1 of 2" in ended.traceback
    assert isinstance(lost, WorkerLost)
    assert not any(is_alive(each) for each in ranks)


def test_a_stopped_rank_is_noticed_by_its_silence(group: Group, tmp_path: Path) -> None:
    ranks = group.ranks
    hang = tmp_path / "hang"
    group.begin(assignment(tmp_path / "t", assembly(hang_file=str(hang))))
    wait_for(hang.exists)
    os.kill(ranks[1].pid, signal.SIGSTOP)
    lost = group.receive(seconds=30.0)
    assert isinstance(lost, WorkerLost)
    assert lost.reason == f"worker process {ranks[1].pid} (rank 1 of 2): no heartbeat for 6 s"
    assert not any(is_alive(each) for each in ranks)


def test_all_ranks_are_gone_within_seconds_of_the_coordinators_death() -> None:
    code = (
        "import time\n"
        "from search.engines.devices import plan_devices\n"
        "from search.engines.local import LocalEngine\n"
        "engine = LocalEngine(plan_devices('cpu:2', devices_per_trial=2, trials_per_device=1).slots)\n"
        "engine.start_worker(slot=0)\n"
        "while not engine.poll(timeout_seconds=1.0): pass\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    coordinator = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, cwd=ROOT)
    try:
        assert coordinator.stdout is not None
        assert coordinator.stdout.readline() == b"ready\n"
        ranks = psutil.Process(coordinator.pid).children()
        assert len(ranks) == 2
    finally:
        coordinator.kill()
        coordinator.wait()
        coordinator.stdout.close()  # type: ignore[union-attr]
    wait_for(lambda: not any(is_alive(each) for each in ranks), seconds=5.0)

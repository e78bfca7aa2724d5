"""What every engine must do, whatever places its workers: rigs to try them with, and conversations with workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from unittest import mock

import psutil
from command_line import is_alive, wait_for
from forked_workers import template_pids
from virtual_engine import VirtualEngine

from search.engines.devices import DeviceSlot
from search.engines.engine import Engine, EngineEvent, MessageReceived, WorkerLost
from search.engines.local import LocalEngine
from search.engines.ray_cluster import RayEngine
from search.messages import Action, Decision, FromWorker, ModelAssembly, TrialAssignment, WorkerReady

ROOT = Path(__file__).resolve().parents[1]
N_SLOTS = 2
HEARTBEAT_SECONDS = 4.0

Signal = Callable[[int], None]
Said = TypeVar("Said", bound=FromWorker)


@dataclass(kw_only=True)
class Rig:
    """An engine with a ready worker on each of its slots.

    Attributes:
        engine: The engine.
        kill: Kills a worker, by number.
        suspend: Makes it hang; None where nothing can.
        crash: Makes it end with a word of why; likewise.
        ready: What each living worker said of itself.
    """

    engine: Engine
    kill: Signal = field(init=False)
    suspend: Signal | None = field(init=False)
    crash: Signal | None = field(init=False)
    ready: dict[int, WorkerReady] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.engine, VirtualEngine):
            self.kill, self.suspend, self.crash = self.engine.kill_worker, None, None
        else:
            self.kill = lambda worker: os.kill(self.ready[worker].pid, signal.SIGKILL)
            self.suspend = lambda worker: os.kill(self.ready[worker].pid, signal.SIGSTOP)
            self.crash = lambda worker: os.kill(self.ready[worker].pid, signal.SIGSEGV)
        self.fill()

    def fill(self) -> None:
        """Start what is missing."""
        missing = [self.engine.start_worker(slot=slot) for slot in range(N_SLOTS - len(self.ready))]
        for event in events_until(self.engine, len(missing)):
            assert event.worker in missing
            self.ready[event.worker] = message_in(event, WorkerReady)

    def end(self) -> None:
        """Close the engine and see that nothing is left."""
        self.engine.close(timeout_seconds=20.0)
        if not isinstance(self.engine, VirtualEngine):
            processes = {ready.pid for ready in self.ready.values()}
            wait_for(lambda: not any(psutil.pid_exists(pid) for pid in processes), seconds=5.0)
            wait_for(lambda: not living_children(), seconds=5.0)


@contextmanager
def make_engine(kind: str) -> Iterator[Engine]:
    """Make an engine of that kind, whose workers find this clone."""
    engine: Engine
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(ROOT)}):
        if kind == "virtual":
            engine = VirtualEngine(n_slots=N_SLOTS)
        elif kind == "local":
            slot = DeviceSlot(label="CPU slot", environment={"CUDA_VISIBLE_DEVICES": ""})
            engine = LocalEngine([slot] * N_SLOTS, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
        else:
            engine = RayEngine(
                address="local",
                devices=f"cpu:{N_SLOTS}",
                devices_per_trial=1,
                trials_per_device=1,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            )
        yield engine


def assignment(directory: Path, *, n_epochs_reported: int = 0, n_epochs: int = 3) -> TrialAssignment:
    """A short trial of the built-in model; its key is the directory's name."""
    directory.mkdir(exist_ok=True)
    return TrialAssignment(
        trial_key=directory.name,
        assembly=assembly(),
        directory=str(directory),
        seed=3,
        n_epochs=n_epochs,
        horizon_epochs=n_epochs,
        resume=True,
        n_epochs_reported=n_epochs_reported,
        merge_validation=False,
    )


def assembly(**model_args: object) -> ModelAssembly:
    """The built-in model on the built-in data."""
    return ModelAssembly(
        model_class="lightning_modules.ConvNet",
        model_args={"in_channels": 1, "n_classes": 10, "learning_rate": 1e-3, **model_args},
        data_class="lightning_modules.DigitsDataModule",
        data_args={"batch_size": 256},
        trainer_args={},
        monitor="val_acc",
        maximize=True,
        data_seed=0,
    )


def decide(key: str, epoch: int, action: Action = Action.CONTINUE) -> Decision:
    return Decision(trial_key=key, epoch=epoch, action=action)


def events_until(engine: Engine, n_events: int, *, seconds: float = 120.0) -> Sequence[EngineEvent]:
    """Poll until there were that many events, and no more."""
    events: list[EngineEvent] = []
    deadline = time.monotonic() + seconds
    while len(events) < n_events:
        events.extend(engine.poll(timeout_seconds=0.5))
        assert time.monotonic() < deadline, events
    assert len(events) == n_events, events
    return events


def message_in(event: EngineEvent, kind: type[Said]) -> Said:
    """Return the message of an event that must have one of that kind."""
    assert isinstance(event, MessageReceived), event
    assert isinstance(event.message, kind), event
    return event.message


def lost(engine: Engine, worker: int, *, seconds: float = 60.0) -> WorkerLost:
    """Wait until that worker, and nothing else, is heard of: it is lost."""
    (event,) = events_until(engine, 1, seconds=seconds)
    assert isinstance(event, WorkerLost), event
    assert event.worker == worker
    return event


def living_children() -> list[psutil.Process]:
    """Return the living processes that this one started, and theirs."""
    children = psutil.Process().children(recursive=True)
    return [each for each in children if each.pid not in template_pids and is_alive(each)]

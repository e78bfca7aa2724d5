"""The local engine's own: where its processes are, and those that do not start or end; the rest is every engine's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import listening
from engine_conformance import assembly, events_until, living_children, lost, message_in

from search.engines.devices import DeviceSlot
from search.engines.engine import MessageReceived, WorkerLost
from search.engines.local import LocalEngine
from search.messages import Inspect, InspectionResult, WorkerReady

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]

MakeEngine = Callable[..., LocalEngine]


@pytest.fixture
def make_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeEngine]:
    """Make engines that are closed, and leave no process behind, when the test ends."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    engines: list[LocalEngine] = []

    def make(*, n_slots: int = 1, **options: Any) -> LocalEngine:
        slots = [
            DeviceSlot(label=f"CPU slot {index}", environment={"CUDA_VISIBLE_DEVICES": "", "SLOT": str(index)})
            for index in range(n_slots)
        ]
        engines.append(LocalEngine(slots, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close(timeout_seconds=0.0)
    assert living_children() == []


def ready(engine: LocalEngine, worker: int) -> WorkerReady:
    """Wait until a worker that is alone is ready."""
    (event,) = events_until(engine, 1)
    assert event.worker == worker
    return message_in(event, WorkerReady)


def test_workers_speak_for_themselves_and_end_when_asked(make_engine: MakeEngine) -> None:
    engine = make_engine(n_slots=2)
    assert engine.n_slots == 2
    numbers = [engine.start_worker(slot=slot) for slot in range(2)]
    messages = {event.worker: event.message for event in events_until(engine, 2) if isinstance(event, MessageReceived)}
    assert set(messages) == set(numbers)
    for number, message in messages.items():
        assert isinstance(message, WorkerReady)
        assert message.device == "CPU, 1 thread"
        assert "torch" in message.versions
        process = psutil.Process(message.pid)
        assert process.ppid() == os.getpid()
        assert process.environ()["SLOT"] == str(numbers.index(number))
        assert os.getsid(message.pid) == message.pid  # a terminal's Ctrl-C does not reach it
    engine.send(numbers[1], Inspect(assembly=replace(assembly(), model_class="no_such_package.Net"), searched=()))
    (event,) = events_until(engine, 1)
    assert isinstance(event, MessageReceived)
    assert event.worker == numbers[1]
    assert isinstance(event.message, InspectionResult)
    assert "no_such_package" in event.message.error
    began = time.monotonic()
    engine.close(timeout_seconds=30.0)
    assert time.monotonic() - began < 25.0  # they went on their own
    assert living_children() == []


def test_a_worker_that_the_system_killed_for_want_of_memory_is_told_from_one_that_a_person_killed(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(600)\n")  # the real one takes seconds to import
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    n_oom_kills = [3]
    engine = make_engine(oom_kills=lambda: n_oom_kills[0])
    for n_more, told in ((0, "killed by SIGKILL"), (1, "killed by SIGKILL, by the system's out-of-memory killer")):
        worker = engine.start_worker(slot=0)
        (process,) = living_children()
        pid = process.pid
        n_oom_kills[0] += n_more
        os.kill(pid, signal.SIGKILL)
        reason = lost(engine, worker).reason
        assert reason.startswith(f"worker process {pid}: {told}")
        assert ("out-of-memory" in reason) == bool(n_more)


def test_shared_devices_have_a_slot_for_each_that_shares(make_engine: MakeEngine) -> None:
    engine = make_engine(n_slots=2)
    engine.share_devices(n_sharing=3)
    assert engine.n_slots == 6
    assert [engine.device(slot) for slot in range(6)] == ["CPU slot 0", "CPU slot 1"] * 3


@pytest.mark.usefixtures("forked_workers")
def test_nothing_listens_and_silence_counts_from_when_somebody_listens(make_engine: MakeEngine) -> None:
    engine = make_engine(heartbeat_timeout_seconds=3.0)
    before = listening(psutil.Process())  # a server that other tests use may be a process below this one, too
    ready(engine, engine.start_worker(slot=0))
    assert listening(psutil.Process()) == before  # neither this process nor the worker
    time.sleep(4.0)  # the coordinator waits for a store, and hears the heartbeats of that time when it is back
    calm_until = time.monotonic() + 4.0
    while time.monotonic() < calm_until:  # its heartbeat alone keeps it for longer than the timeout
        assert engine.poll(timeout_seconds=0.5) == []


def test_a_worker_that_cannot_start_shows_what_it_printed(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A half-installed torch, before the real one on the import path.
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so: cannot open shared object file')\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    engine = make_engine()
    event = lost(engine, engine.start_worker(slot=0))
    assert event.reason.endswith("exited with status 1")
    assert event.output.endswith("ImportError: libtorch.so: cannot open shared object file")


def test_a_worker_that_never_speaks_is_given_up(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A file system that hangs while torch is read from it.
    (tmp_path / "torch.py").write_text("print('hanging', flush=True)\nimport time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    engine = make_engine(start_timeout_seconds=3.0)
    event = lost(engine, engine.start_worker(slot=0), seconds=30.0)
    assert event.reason.endswith("no heartbeat for 3 s")
    assert event.output == "hanging"


def test_closing_kills_those_that_do_not_end(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    engine = make_engine(n_slots=2)
    for slot in range(2):
        engine.start_worker(slot=slot)
    assert len(living_children()) == 2
    began = time.monotonic()
    engine.close(timeout_seconds=1.0)
    assert time.monotonic() - began < 5.0
    assert living_children() == []


def test_a_process_that_no_kill_ends_is_not_waited_for(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(start_timeout_seconds=0.1)
    engine.start_worker(slot=0)
    (process,) = living_children()
    process.suspend()
    with monkeypatch.context() as patch:
        patch.setattr("search.engines.local._KILL_SECONDS", 0.2)
        patch.setattr("os.killpg", lambda group, number: None)  # as if it waited for a driver, in the kernel
        (event,) = events_until(engine, 1, seconds=20.0)
    assert isinstance(event, WorkerLost)
    assert event.reason.endswith(
        "no heartbeat for 0 s; it has been killed but does not end, and may still hold its device"
    )
    process.kill()
    process.wait(20.0)

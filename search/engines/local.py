"""Workers as processes of this machine, each on its own device slot, connected by a socket pair."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from search.engines.child_process import ChildProcess
from search.engines.devices import DeviceSlot
from search.engines.engine import EngineEvent, MessageReceived, WorkerLost
from search.engines.oom_killer import n_oom_kills
from search.engines.rank_environment import LOOPBACK, rank_environment, without_ranks
from search.engines.rank_merging import RankMerging
from search.messages import FromWorker, Shutdown, ToWorker, decode, encode

_ABSENCE_SECONDS = 5.0
_KILL_SECONDS = 10.0
"""A killed process that waits in the kernel, for a driver or a network file system, may never end."""


@dataclass(slots=True, kw_only=True)
class _Process:
    worker: int
    rank: int
    child: ChildProcess
    heard_at: float = field(default_factory=time.monotonic)
    has_spoken: bool = False


@dataclass(slots=True, kw_only=True)
class _Worker:
    """One process, or the processes of a group by rank."""

    number: int
    merging: RankMerging
    processes: list[_Process] = field(default_factory=list)


class LocalEngine:
    """One long-lived process per slot, or a group of them, each in a session of its own.

    So a terminal's Ctrl-C does not reach them. A process's end of its socket closes when the coordinator dies, however
    it dies, and the process then ends itself. When one process of a group is lost, all of them are killed at once.

    Args:
        slots: Where workers may run.
        heartbeat_timeout_seconds: Silence after which a process counts as hung and is killed.
        start_timeout_seconds: The same for a process that has not spoken yet (it imports torch).
        oom_kills: Counts what the system has killed for want of memory.
    """

    def __init__(
        self,
        slots: Sequence[DeviceSlot],
        *,
        heartbeat_timeout_seconds: float = 60.0,
        start_timeout_seconds: float = 300.0,
        oom_kills: Callable[[], int] = n_oom_kills,
    ) -> None:
        self._slots = tuple(slots)
        self._heartbeat_timeout_seconds = heartbeat_timeout_seconds
        self._start_timeout_seconds = start_timeout_seconds
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, _Worker] = {}
        self._polled_at = time.monotonic()
        self._n_started = 0
        self._unending: list[subprocess.Popen[bytes]] = []
        self._oom_kills = oom_kills
        self._n_oom_kills = oom_kills()

    @property
    def n_slots(self) -> int:
        """Workers that can run at the same time."""
        return len(self._slots)

    def device(self, slot: int) -> str:
        """Name of the device of a slot."""
        return self._slots[slot].label

    def share_devices(self, *, n_sharing: int) -> None:
        """Offer that many slots on the device of each slot that there is."""
        self._slots *= n_sharing

    def start_worker(self, *, slot: int) -> int:
        """Start a worker on `slot` and return its number."""
        place = self._slots[slot]
        worker = _Worker(number=self._n_started, merging=RankMerging(place.n_ranks))
        self._n_started += 1
        self._workers[worker.number] = worker
        environment = _environment(place)
        if place.n_ranks == 1:
            self._start_process(worker, rank=0, environment=environment)
            return worker.number
        # The port is taken here and handed on open, so that no other group and no other program can have it.
        with socket.create_server((LOOPBACK, 0)) as listener:
            group = uuid.uuid4().hex
            for rank in range(place.n_ranks):
                ranks = rank_environment(rank, n_ranks=place.n_ranks, group=group, port=listener.getsockname()[1])
                self._start_process(
                    worker, rank=rank, environment={**environment, **ranks}, listener=listener if rank == 0 else None
                )
        return worker.number

    def _start_process(
        self, worker: _Worker, *, rank: int, environment: dict[str, str], listener: socket.socket | None = None
    ) -> None:
        arguments = ["--import-path", os.getcwd()]  # noqa: PTH109
        inherited = []
        if listener is not None:
            arguments += ["--listen-fd", str(listener.fileno())]
            inherited.append(listener.fileno())
        child = ChildProcess("search.worker", arguments, environment=environment, inherited=inherited)
        process = _Process(worker=worker.number, rank=rank, child=child)
        worker.processes.append(process)
        self._selector.register(child.socket, selectors.EVENT_READ, process)

    def send(self, worker: int, message: ToWorker) -> None:
        """Send a message to every rank; one to a worker that is gone is dropped."""
        if worker in self._workers:
            line = encode(message)
            for process in self._workers[worker].processes:
                process.child.send(line)  # if it died, `poll` reports it

    def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
        """Wait at most that long for messages and deaths."""
        events: list[EngineEvent] = []
        self._forgive_own_absence(timeout_seconds)
        ended: list[_Process] = []
        for key, _ in self._selector.select(timeout_seconds):
            process: _Process = key.data
            events.extend(self._messages(process))
            process.heard_at = time.monotonic()
            process.has_spoken = True
            if process.child.has_hung_up:
                ended.append(process)
        for process in ended:
            if process.worker in self._workers:
                events.append(self._bury(process, kill_reason=None))
        for process, reason in self._silent():
            if process.worker in self._workers:
                events.append(self._bury(process, kill_reason=reason))
        for worker in tuple(self._workers.values()):
            events.extend(self._given_up(worker))
        return events

    def close(self, *, timeout_seconds: float) -> None:
        """Ask all workers to end, wait that long, then kill those that are left."""
        for number in tuple(self._workers):
            self.send(number, Shutdown())
        deadline = time.monotonic() + timeout_seconds
        for worker in tuple(self._workers.values()):
            for process in worker.processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.child.popen.wait(max(0.0, deadline - time.monotonic()))
            self._bury(worker.processes[0], kill_reason="closed")
        self._selector.close()
        for popen in self._unending:
            popen.poll()

    def _forgive_own_absence(self, timeout_seconds: float) -> None:
        """Let silence count anew if nobody listened meanwhile: this process was suspended, or waited for a store."""
        now = time.monotonic()
        if now - self._polled_at > timeout_seconds + _ABSENCE_SECONDS:
            for process in self._processes():
                process.heard_at = now
        self._polled_at = now

    def _processes(self) -> list[_Process]:
        return [process for worker in self._workers.values() for process in worker.processes]

    def _messages(self, process: _Process) -> list[EngineEvent]:
        events: list[EngineEvent] = []
        merging = self._workers[process.worker].merging
        for line in process.child.receive():
            message = decode(line)
            assert isinstance(message, FromWorker)
            said = merging.add(process.rank, message, now=time.monotonic())
            if said is not None:
                events.append(MessageReceived(worker=process.worker, message=said))
        return events

    def _given_up(self, worker: _Worker) -> list[EngineEvent]:
        """Tell the error of a group in which a rank raised, and end the group: the others may wait for that rank."""
        error = worker.merging.overdue_error(now=time.monotonic())
        if error is None:
            return []
        told = MessageReceived(worker=worker.number, message=error)
        return [told, self._bury(worker.processes[0], kill_reason="ended, since one of its ranks raised")]

    def _silent(self) -> list[tuple[_Process, str]]:
        now = time.monotonic()
        silent = []
        for process in self._processes():
            limit = self._heartbeat_timeout_seconds if process.has_spoken else self._start_timeout_seconds
            if now - process.heard_at > limit:
                silent.append((process, f"no heartbeat for {limit:.0f} s"))
        return silent

    def _bury(self, process: _Process, *, kill_reason: str | None) -> WorkerLost:
        """Kill what is left of the process's worker, with all of its ranks and their children, and forget it."""
        worker = self._workers.pop(process.worker)
        if kill_reason is None:
            # Its socket is closed, so it is ending; its exit status says how.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.child.popen.wait(5.0)
        for each in worker.processes:
            each.child.kill()
        output = process.child.output()
        deadline = time.monotonic() + _KILL_SECONDS
        for each in worker.processes:
            try:
                each.child.popen.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._unending.append(each.child.popen)
            self._selector.unregister(each.child.socket)
            each.child.close()
        rank = f" (rank {process.rank} of {len(worker.processes)})" if len(worker.processes) > 1 else ""
        status = process.child.popen.poll()
        reason = kill_reason or self._ending(status)
        if any(each.child.popen in self._unending for each in worker.processes):
            reason += "; it has been killed but does not end, and may still hold its device"
        return WorkerLost(
            worker=worker.number, reason=f"worker process {process.child.popen.pid}{rank}: {reason}", output=output
        )

    def _ending(self, status: int | None) -> str:
        """Say how a process ended; a kill by the system, which no log of the process tells of, by what it counts."""
        if status is None:
            return "closed its connection"
        known, self._n_oom_kills = self._n_oom_kills, self._oom_kills()
        if status == -signal.SIGKILL and self._n_oom_kills > known:
            return "killed by SIGKILL, by the system's out-of-memory killer it seems: the host's memory is not enough"
        return _ending(status)


def _environment(slot: DeviceSlot) -> dict[str, str]:
    # Several threads in each of several workers make all of them crawl; a user who sets the variable keeps it.
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    return {**without_ranks(os.environ), **threads, **slot.environment}


def _ending(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"

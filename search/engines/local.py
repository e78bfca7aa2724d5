"""Workers as processes of this machine, each on its own device slot, connected by a socket pair."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from search.engines.devices import DeviceSlot
from search.engines.engine import EngineEvent, MessageReceived, WorkerLost
from search.engines.oom_killer import n_oom_kills
from search.messages import FromWorker, Heartbeat, Shutdown, ToWorker, decode, encode

_OUTPUT_TAIL_BYTES = 4000
_ABSENCE_SECONDS = 5.0


@dataclass(slots=True, kw_only=True)
class _Process:
    number: int
    popen: subprocess.Popen[bytes]
    socket: socket.socket
    output: IO[bytes]
    received: bytearray = field(default_factory=bytearray)
    heard_at: float = field(default_factory=time.monotonic)
    has_spoken: bool = False


class LocalEngine:
    """One long-lived process per slot, in a session of its own, so that a terminal's Ctrl-C does not reach it.

    A worker's end of the socket closes when the coordinator dies, however it dies, and the worker then ends itself.

    Args:
        slots: Where workers may run.
        heartbeat_timeout_seconds: Silence after which a worker counts as hung and is killed.
        start_timeout_seconds: The same for a worker that has not spoken yet (it imports torch).
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
        self._processes: dict[int, _Process] = {}
        self._polled_at = time.monotonic()
        self._n_started = 0
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
        """Start a worker process on `slot` and return its number."""
        ours, theirs = socket.socketpair()
        output = tempfile.TemporaryFile("a+b")  # noqa: SIM115  (lives as long as the worker)
        command = [sys.executable, "-P", "-m", "search.worker", "--fd", str(theirs.fileno())]
        popen = subprocess.Popen(
            [*command, "--import-path", os.getcwd()],  # noqa: PTH109
            env=_environment(self._slots[slot]),
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        theirs.close()
        process = _Process(number=self._n_started, popen=popen, socket=ours, output=output)
        self._n_started += 1
        self._processes[process.number] = process
        self._selector.register(ours, selectors.EVENT_READ, process)
        return process.number

    def send(self, worker: int, message: ToWorker) -> None:
        """Send a message; one to a worker that is gone is dropped."""
        process = self._processes.get(worker)
        if process is not None:
            with contextlib.suppress(OSError):  # the worker died; `poll` reports it
                process.socket.sendall(encode(message))

    def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
        """Wait at most that long for messages and deaths."""
        events: list[EngineEvent] = []
        self._forgive_own_absence(timeout_seconds)
        for key, _ in self._selector.select(timeout_seconds):
            process: _Process = key.data
            chunk = _receive(process.socket)
            process.received += chunk
            process.heard_at = time.monotonic()
            process.has_spoken = True
            events.extend(self._messages(process))
            if not chunk:
                events.append(self._bury(process, kill_reason=None))
        events.extend(self._bury(process, kill_reason=reason) for process, reason in self._silent())
        return events

    def close(self, *, timeout_seconds: float) -> None:
        """Ask all workers to end, wait that long, then kill those that are left."""
        for number in tuple(self._processes):
            self.send(number, Shutdown())
        deadline = time.monotonic() + timeout_seconds
        for process in tuple(self._processes.values()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.popen.wait(max(0.0, deadline - time.monotonic()))
            self._bury(process, kill_reason="closed")
        self._selector.close()

    def _forgive_own_absence(self, timeout_seconds: float) -> None:
        """Let silence count anew if nobody listened meanwhile: this process was suspended, or waited for a store."""
        now = time.monotonic()
        if now - self._polled_at > timeout_seconds + _ABSENCE_SECONDS:
            for process in self._processes.values():
                process.heard_at = now
        self._polled_at = now

    def _messages(self, process: _Process) -> list[EngineEvent]:
        events: list[EngineEvent] = []
        *lines, rest = bytes(process.received).split(b"\n")
        process.received[:] = rest
        for line in lines:
            message = decode(line)
            if not isinstance(message, Heartbeat):
                assert isinstance(message, FromWorker)
                events.append(MessageReceived(worker=process.number, message=message))
        return events

    def _silent(self) -> list[tuple[_Process, str]]:
        now = time.monotonic()
        silent = []
        for process in self._processes.values():
            limit = self._heartbeat_timeout_seconds if process.has_spoken else self._start_timeout_seconds
            if now - process.heard_at > limit:
                silent.append((process, f"no heartbeat for {limit:.0f} s"))
        return silent

    def _bury(self, process: _Process, *, kill_reason: str | None) -> WorkerLost:
        """Kill what is left of the worker's process group and forget it."""
        if kill_reason is None:
            # Its socket is closed, so it is ending; its exit status says how.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.popen.wait(5.0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.popen.pid, signal.SIGKILL)
        status = process.popen.wait()
        self._selector.unregister(process.socket)
        process.socket.close()
        del self._processes[process.number]
        reason = kill_reason or self._ending(status)
        return WorkerLost(
            worker=process.number, reason=f"worker process {process.popen.pid}: {reason}", output=_tail(process.output)
        )

    def _ending(self, status: int) -> str:
        """Say how a process ended; a kill by the system, which no log of the process tells of, by what it counts."""
        known, self._n_oom_kills = self._n_oom_kills, self._oom_kills()
        if status == -signal.SIGKILL and self._n_oom_kills > known:
            return "killed by SIGKILL, by the system's out-of-memory killer it seems: the host's memory is not enough"
        return _ending(status)


def _environment(slot: DeviceSlot) -> dict[str, str]:
    # Several threads in each of several workers make all of them crawl; a user who sets the variable keeps it.
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    return {**os.environ, **threads, **slot.environment}


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 20)
    except ConnectionError:
        return b""


def _ending(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _tail(output: IO[bytes]) -> str:
    with output:
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - _OUTPUT_TAIL_BYTES))
        return output.read().decode(errors="replace").strip()

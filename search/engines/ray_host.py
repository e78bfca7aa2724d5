"""What runs inside a Ray actor: it starts a worker on its node through the local engine and passes lines both ways."""

from __future__ import annotations

import contextlib
import heapq
import os
import socket
import threading
from collections.abc import Mapping
from typing import Any

from search.engines.devices import DeviceSlot
from search.engines.engine import WorkerLost
from search.engines.local import LocalEngine
from search.messages import ToWorker, decode, encode


class WorkerHost:
    """One worker of the cluster. Ray calls `events` and `send` in a thread each; arguments and answers are plain data.

    The worker ends when this process does, as it would with a coordinator on its own machine.

    Args:
        n_devices: Devices of the worker, >= 1: it has a process for each.
        environment: Variables of the worker, beside those of this process.
        working_directory: Where the coordinator runs; the worker runs there too, if this node has that directory, and
            finds the user's modules there.
        heartbeat_timeout_seconds: See `LocalEngine`.
        start_timeout_seconds: See `LocalEngine`.
    """

    def __init__(
        self,
        *,
        n_devices: int,
        environment: Mapping[str, str],
        working_directory: str,
        heartbeat_timeout_seconds: float,
        start_timeout_seconds: float,
    ) -> None:
        # Without it, the directory is the one of this node that the job's runtime environment was unpacked in.
        with contextlib.suppress(OSError):
            os.chdir(working_directory)
        slot = DeviceSlot(label=f"slot on {socket.gethostname()}", environment=environment, n_ranks=n_devices)
        self._engine = LocalEngine(
            [slot],
            heartbeat_timeout_seconds=heartbeat_timeout_seconds,
            start_timeout_seconds=start_timeout_seconds,
        )
        self._worker: int | None = None
        self._outbox: list[tuple[int, str]] = []
        self._n_sent = 0
        self._sending = threading.Lock()

    def events(self, timeout_seconds: float) -> dict[str, Any]:
        """Wait for news of the worker at most that long; the first call starts it and returns at once.

        Returns:
            ``lines``: encoded messages in order; ``lost``: None, or why the worker is gone; ``output``: the end of what
            it wrote; ``host``: name of this machine.
        """
        lines: list[str] = []
        lost: WorkerLost | None = None
        if self._worker is None:
            self._worker = self._engine.start_worker(slot=0)
        else:
            for event in self._engine.poll(timeout_seconds=timeout_seconds):
                if isinstance(event, WorkerLost):
                    lost = event
                else:
                    lines.append(encode(event.message).decode())
        return {
            "lines": lines,
            "lost": None if lost is None else lost.reason,
            "output": "" if lost is None else lost.output,
            "host": socket.gethostname(),
        }

    def send(self, index: int, line: str) -> None:
        """Hand an encoded message to the worker, in the order of `index`, which counts from 0: calls may overtake."""
        with self._sending:
            heapq.heappush(self._outbox, (index, line))
            while self._outbox and self._outbox[0][0] == self._n_sent:
                message = decode(heapq.heappop(self._outbox)[1].encode())
                assert self._worker is not None
                assert isinstance(message, ToWorker)
                self._engine.send(self._worker, message)
                self._n_sent += 1

    def close(self) -> None:
        """Kill the worker."""
        self._engine.close(timeout_seconds=0.0)

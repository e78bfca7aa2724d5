"""What the coordinator asks of an engine, whatever places the workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from search.messages import FromWorker, ToWorker


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived:
    """A worker said something (heartbeats are kept by the engine)."""

    worker: int
    message: FromWorker


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """The worker is gone, with all its processes; its number will not be used again.

    A worker that is a group of processes ends when one of them raised: the answer with the error and its loss come in
    one poll then, the answer first.

    Attributes:
        reason: How it ended, in words (``killed by SIGKILL``, ``no heartbeat for 60 s``).
        output: The end of what it wrote outside of trials (a failed import, say).
    """

    worker: int
    reason: str
    output: str


EngineEvent: TypeAlias = MessageReceived | WorkerLost


class Engine(Protocol):
    """Places workers on device slots and carries messages; used by one thread.

    A worker is one process, or the group of processes that train one trial together on several devices.
    """

    @property
    def n_slots(self) -> int:
        """Workers that can run at the same time."""

    def start_worker(self, *, slot: int) -> int:
        """Start a worker on a free slot, in ``range(n_slots)``, and return its number, never used before."""

    def send(self, worker: int, message: ToWorker) -> None:
        """Send a message; one to a worker that is gone is dropped (`WorkerLost` tells)."""

    def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
        """Wait for events at most that long; a worker's messages come in the order in which it sent them."""

    def close(self, *, timeout_seconds: float) -> None:
        """Ask all workers to end, wait that long, then kill those that are left."""

"""The workers of an engine: which are starting, idle or busy; a lost one is replaced."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TypeVar

from search.coordinator.device_ledger import DeviceLedger
from search.coordinator.interruption import Interruption
from search.engines.engine import Engine, EngineEvent, MessageReceived, WorkerLost
from search.errors import StudyFailedError, StudyInterruptedError
from search.messages import FromWorker, ToWorker, WorkerReady

_MOST_FAILED_STARTS = 3

_POLL_SECONDS = 0.5

Reply = TypeVar("Reply", bound=FromWorker)


class Workforce:
    """Starts one worker on every slot of the engine and keeps it so.

    Attributes:
        ledger: What the workers' time goes into; a request (`ask`) is no training.
    """

    def __init__(self, engine: Engine, *, interruption: Interruption, ledger: DeviceLedger | None = None) -> None:
        self._engine = engine
        self.ledger = ledger or DeviceLedger()
        self._interruption = interruption
        self._slots: dict[int, int] = {}
        self._starting: set[int] = set()
        self._idle: deque[int] = deque()
        self._n_failed_starts = 0
        self.versions: Mapping[str, str] = {}
        self.device = ""
        for slot in range(engine.n_slots):
            self._start(slot)

    @property
    def idle(self) -> bool:
        """Whether a worker waits for work."""
        return bool(self._idle)

    @property
    def n_workers(self) -> int:
        """Workers, whatever they do."""
        return len(self._slots)

    def take_idle(self) -> int:
        """Return a worker that was idle and is busy from now on."""
        self.ledger.change(training=1, idle=-1)
        return self._idle.popleft()

    def release(self, worker: int) -> None:
        """The worker is idle again."""
        self.ledger.change(training=-1, idle=1)
        self._idle.append(worker)

    def send(self, worker: int, message: ToWorker) -> None:
        """Send a message to a worker."""
        self._engine.send(worker, message)

    def poll(self, *, timeout_seconds: float) -> list[EngineEvent]:
        """Wait for events at most that long; starts and replacements of workers are seen to here.

        Raises:
            StudyFailedError: If workers die before they are ready, again and again.
        """
        events: list[EngineEvent] = []
        for event in self._engine.poll(timeout_seconds=timeout_seconds):
            if isinstance(event, WorkerLost):
                self._replace(event)
                events.append(event)
            elif isinstance(event.message, WorkerReady):
                self._starting.discard(event.worker)
                self.ledger.change(starting=-1, idle=1)
                self._n_failed_starts = 0
                self._idle.append(event.worker)
                self.versions, self.device = event.message.versions, event.message.device
            else:
                events.append(event)
        return events

    def ask(self, message: ToWorker, reply: type[Reply], *, doing: str, interruptible: bool) -> Reply:
        """Send a request to an idle worker, waiting for one to be ready, and wait for its answer.

        Args:
            message: The request.
            reply: Type of its answer.
            doing: What the request is for, for the message (``the model was tried out``).
            interruptible: Whether the first Ctrl-C gives up; else the answer is waited for and the second one stops.

        Raises:
            StudyFailedError: If the worker is lost before it answers.
            StudyInterruptedError: If the user stops the study meanwhile.
        """
        while not self._idle:
            self.poll(timeout_seconds=_POLL_SECONDS)
            self._give_up_if_interrupted()
        worker = self._idle.popleft()
        self.send(worker, message)
        while True:
            for event in self.poll(timeout_seconds=_POLL_SECONDS):
                if event.worker == worker and isinstance(event, WorkerLost):
                    self.ledger.change(training=1, idle=-1)  # it was counted as idle
                    raise StudyFailedError(f"{event.reason}, while {doing}.\n{event.output}".rstrip())
                if event.worker == worker and isinstance(event, MessageReceived) and isinstance(event.message, reply):
                    self._idle.append(worker)
                    return event.message
            if interruptible:
                self._give_up_if_interrupted()

    def _give_up_if_interrupted(self) -> None:
        if self._interruption.requested:
            raise StudyInterruptedError("stopped before any training; nothing has been changed.")

    def _start(self, slot: int) -> None:
        worker = self._engine.start_worker(slot=slot)
        self._slots[worker] = slot
        self._starting.add(worker)
        self.ledger.change(starting=1)

    def _replace(self, lost: WorkerLost) -> None:
        slot = self._slots.pop(lost.worker)
        is_idle, is_starting = lost.worker in self._idle, lost.worker in self._starting
        self.ledger.change(idle=-is_idle, starting=-is_starting, training=is_idle + is_starting - 1)
        if is_idle:
            self._idle.remove(lost.worker)
        if is_starting:
            self._starting.discard(lost.worker)
            self._n_failed_starts += 1
            if self._n_failed_starts >= _MOST_FAILED_STARTS:
                raise StudyFailedError(f"workers cannot be started: {lost.reason}.\n{lost.output}")
        self._start(slot)

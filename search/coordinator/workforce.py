"""The workers of an engine: which are starting, idle or busy; a lost one is replaced."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace

from search.coordinator.interruption import Interruption
from search.coordinator.request import Reply, Request
from search.coordinator.timesheet import Timesheet
from search.engines.engine import Engine, EngineEvent, WorkerLost
from search.errors import SearchError, StudyFailedError
from search.messages import Farewell, Shutdown, ToWorker, WorkerReady
from search.package_version import zeroin_version

_MOST_FAILED_STARTS = 3

_POLL_SECONDS = 0.5

_MOST_GROWTH = 2.0
_LEAST_GROWTH_BYTES = 1 << 30


class Workforce:
    """Starts one worker on every slot of the engine and keeps it so.

    Args:
        engine: Where they run.
        interruption: Whether the user wants to stop.
        n_workers: On how many slots, None for all.
        timesheet: Where their time is counted, None for a new one.

    Attributes:
        timesheet: What the workers' time goes into; a request (`ask`) is no training.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        interruption: Interruption,
        n_workers: int | None = None,
        timesheet: Timesheet | None = None,
    ) -> None:
        self._engine = engine
        self.timesheet = timesheet or Timesheet()
        self._interruption = interruption
        self._slots: dict[int, int] = {}
        self._starting: set[int] = set()
        self._idle: deque[int] = deque()
        self._asked: set[int] = set()
        self._retired: set[int] = set()
        self._n_failed_starts = 0
        self._reserved: frozenset[str] = frozenset()
        self._farewells: dict[int, str] = {}
        self._first_bytes: dict[int, int] = {}
        self.versions: Mapping[str, str] = {}
        self.device = ""
        for slot in range(engine.n_slots if n_workers is None else n_workers):
            self._start(slot)

    @property
    def idle(self) -> bool:
        """Whether a worker waits for work, other than on a reserved device."""
        return any(self.device_of(worker) not in self._reserved for worker in self._idle)

    @property
    def n_workers(self) -> int:
        """Workers, whatever they do."""
        return len(self._slots)

    @property
    def trials_per_device(self) -> float:
        """Workers for each device, or group of devices, on which there are any."""
        return len(self._slots) / len({self.device_of(worker) for worker in self._slots})

    def share_devices(self, *, n_sharing: int) -> None:
        """Have that many workers on each device on which there is one, >= 1."""
        n_slots = self._engine.n_slots
        self._engine.share_devices(n_sharing=n_sharing)
        for slot in range(n_slots, self._engine.n_slots):
            self._start(slot)

    def device_of(self, worker: int) -> str:
        """Name of the device of a worker that is not lost."""
        return self._engine.device(self._slots[worker])

    def reserve(self, devices: Iterable[str]) -> None:
        """From now on, workers on these devices, and no others, are left to `take_idle_on`."""
        self._reserved = frozenset(devices)

    def take_idle(self) -> int:
        """Return a worker that was idle, on no reserved device, and is busy from now on."""
        return self._take(next(each for each in self._idle if self.device_of(each) not in self._reserved))

    def take_idle_on(self, device: str) -> int | None:
        """The same on a certain device; None if there is none."""
        worker = next((each for each in self._idle if self.device_of(each) == device), None)
        return None if worker is None else self._take(worker)

    def _take(self, worker: int) -> int:
        self._idle.remove(worker)
        self.timesheet.change(training=1, idle=-1)
        return worker

    def release(self, worker: int) -> None:
        """The worker is idle again, unless it was lost when it had answered."""
        if worker in self._slots:
            self.timesheet.change(training=-1, idle=1)
            self._idle.append(worker)

    def retire(self, worker: int) -> None:
        """Replace a busy worker that has nothing to do any more, to free what memory it holds.

        One that was lost when it had answered, as a group is whose rank raised, has been replaced already.
        """
        if worker not in self._slots:
            return
        self.timesheet.change(training=-1, starting=1)
        self._retired.add(worker)
        self._engine.send(worker, Shutdown())

    def has_grown(self, worker: int, *, resident_bytes: int) -> bool:
        """Whether a worker holds too much memory after a trial, compared to what it held after its first.

        That is when it has more than doubled, by a GiB at least: something leaks.
        """
        first_bytes = self._first_bytes.setdefault(worker, resident_bytes)
        return resident_bytes > max(_MOST_GROWTH * first_bytes, first_bytes + _LEAST_GROWTH_BYTES)

    def send(self, worker: int, message: ToWorker) -> None:
        """Send a message to a worker."""
        self._engine.send(worker, message)

    def poll(self, *, timeout_seconds: float) -> list[EngineEvent]:
        """Wait for events at most that long; starts and replacements of workers are seen to here.

        Raises:
            StudyFailedError: If workers die before they are ready, again and again.
            SearchError: If a worker is of another version of zeroin.
        """
        events: list[EngineEvent] = []
        for event in self._engine.poll(timeout_seconds=timeout_seconds):
            if isinstance(event, WorkerLost):
                self._replace(event)
                events.append(self._explained(event))
            elif isinstance(event.message, Farewell):
                self._farewells[event.worker] = event.message.reason
            elif isinstance(event.message, WorkerReady):
                self._starting.discard(event.worker)
                self.timesheet.change(starting=-1, idle=1)
                self._n_failed_starts = 0
                _require_own_version(event.message)
                self._idle.append(event.worker)
                self.versions, self.device = event.message.versions, event.message.device
            else:
                events.append(event)
        return events

    def ask(self, request: Request[Reply]) -> Reply | None:
        """Send a request to an idle worker, waiting for one to be ready, and wait for its answer.

        If the worker is lost before it answers, another one is asked; the user is told.

        Returns:
            The answer, None if the user stops the study meanwhile.

        Raises:
            StudyFailedError: If too many workers are lost over it.
        """
        n_losses = 0
        while True:
            if self._interruption.requested and (request.interruptible or n_losses):
                return None
            worker = self._next_to_ask()
            if worker is None:
                return None
            request.before_each()
            self.send(worker, request.message)
            answer = self._answer(worker, request)
            if not isinstance(answer, WorkerLost):
                return answer
            n_losses += 1
            request.lost(answer, n_losses=n_losses)

    def _next_to_ask(self) -> int | None:
        """Wait for an idle worker; None if the user stops the study."""
        while not self._idle:
            self.poll(timeout_seconds=_POLL_SECONDS)
            if self._interruption.requested:
                return None
        worker = self._idle.popleft()
        self._asked.add(worker)
        return worker

    def _answer(self, worker: int, request: Request[Reply]) -> Reply | WorkerLost | None:
        """Wait for the answer or the loss of a worker that was asked; None if the user gives up the request."""
        while True:
            for event in self.poll(timeout_seconds=_POLL_SECONDS):
                if event.worker != worker:
                    continue
                if isinstance(event, WorkerLost):
                    return event
                if isinstance(event.message, request.reply):
                    if worker in self._asked:  # else it was lost when it had answered
                        self._asked.discard(worker)
                        self._idle.append(worker)
                    return event.message
            if request.interruptible and self._interruption.requested:
                return None

    def _explained(self, lost: WorkerLost) -> WorkerLost:
        """Let a worker that killed itself say why."""
        self._first_bytes.pop(lost.worker, None)
        farewell = self._farewells.pop(lost.worker, "")
        return replace(lost, reason=f"{farewell} ({lost.reason})") if farewell else lost

    def _start(self, slot: int) -> None:
        worker = self._engine.start_worker(slot=slot)
        self._slots[worker] = slot
        self._starting.add(worker)
        self.timesheet.change(starting=1)

    def _replace(self, lost: WorkerLost) -> None:
        slot = self._slots.pop(lost.worker)
        is_starting = lost.worker in self._starting
        self._forget(lost.worker)
        if is_starting:
            self._n_failed_starts += 1
            if self._n_failed_starts >= _MOST_FAILED_STARTS:
                raise StudyFailedError(f"workers cannot be started: {lost.reason}.\n{lost.output}".rstrip())
        self._start(slot)

    def _forget(self, worker: int) -> None:
        """Count a worker that is lost no more, whatever it was doing."""
        if worker in self._starting or worker in self._retired:
            self._starting.discard(worker)
            self._retired.discard(worker)
            self.timesheet.change(starting=-1)
        elif worker in self._asked:
            self._asked.discard(worker)
            self.timesheet.change(idle=-1)
        elif worker in self._idle:
            self._idle.remove(worker)
            self.timesheet.change(idle=-1)
        else:
            self.timesheet.change(training=-1)


def _require_own_version(ready: WorkerReady) -> None:
    ours = zeroin_version()
    theirs = ready.versions.get("zeroin", ours)
    if theirs != ours:
        raise SearchError(
            f"a worker ({ready.device}) has zeroin {theirs}, the coordinator {ours}: install the same version on every "
            "node of the cluster."
        )

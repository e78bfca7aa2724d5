"""An engine of virtual workers: no process each, answers after a drawn delay, on a clock that skips the waiting.

When the coordinator has nothing to do, the clock jumps to the next answer: a study of days takes as long as the
coordinator works on it. On a `SkippingClock`, what it computes and writes passes in real time, and what every worker
waits for is known to the microsecond; on an `EventClock` it takes no time, so that equal studies run alike.
"""

from __future__ import annotations

import heapq
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from search.engines.engine import EngineEvent, MessageReceived
from search.messages import (
    Action,
    Decision,
    EpochReport,
    FromWorker,
    Inspect,
    InspectionResult,
    PackageAssignment,
    PackageResult,
    TestAssignment,
    TestResult,
    ToWorker,
    TrialAssignment,
    TrialEnded,
    WorkerReady,
)


class Clock(Protocol):
    """Tells the time, and can be set forward."""

    def __call__(self) -> float:
        """Return the time in seconds."""

    def skip_to(self, moment: float) -> None:
        """Go on at `moment`, unless it has passed already."""


class EventClock:
    """Seconds that were skipped, and no others."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        """Return the time in seconds, beginning with 0."""
        return self._seconds

    def skip_to(self, moment: float) -> None:
        """Go on at `moment`, unless it has passed already."""
        self._seconds = max(self._seconds, moment)


class SkippingClock:
    """Real seconds, and those that were skipped."""

    def __init__(self) -> None:
        self._skipped_seconds = -time.perf_counter()

    def __call__(self) -> float:
        """Return the time in seconds, beginning with 0."""
        return time.perf_counter() + self._skipped_seconds

    def skip_to(self, moment: float) -> None:
        """Go on at `moment`, unless it has passed already."""
        self._skipped_seconds += max(0.0, moment - self())


@dataclass(slots=True, kw_only=True)
class _Worker:
    assignment: TrialAssignment | None = None
    epoch: int = 0
    epoch_seconds: float = 0.0
    done_at: float = 0.0  # when it last said something, and has waited since
    trained_seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Delays:
    """How long things take on a worker.

    Attributes:
        epoch_seconds: Median length of an epoch.
        spread: Standard deviation of the logarithm of a trial's own speed: 0.5 makes the slowest of twenty trials take
            more than twice as long as the median.
        start_seconds: From a worker's start to its readiness.
        begin_seconds: From an assignment to the beginning of its first epoch.
    """

    epoch_seconds: float = 30.0
    spread: float = 0.5
    start_seconds: float = 10.0
    begin_seconds: float = 0.2


def bell_curve(assignment: TrialAssignment, epoch: int) -> dict[str, float]:
    """Return what a module of two metrics logs: best at a learning rate of 1e-3, with noise of its own."""
    distance = abs(math.log10(float(assignment.assembly.model_args["learning_rate"])) + 3.0)
    noise = random.Random(assignment.seed + epoch).gauss(0.0, 0.01)
    return accuracy_metrics((1.0 - math.exp(-0.4 * epoch)) * math.exp(-0.25 * distance) + noise)


def accuracy_metrics(accuracy: float) -> dict[str, float]:
    """Return all that is logged in an epoch of that validation accuracy."""
    return {
        "train_loss": 1.0 - accuracy,
        "train_acc": accuracy,
        "train_eval_loss": 0.98 - accuracy,
        "train_eval_acc": accuracy + 0.02,
        "val_loss": 1.0 - accuracy,
        "val_acc": accuracy,
        "gap_loss": 0.02,
        "gap_acc": 0.02,
        "learning_rate": 1e-3,
        "epoch_seconds": 30.0,
    }


@dataclass
class VirtualWorkers:
    """An `Engine` for trials on a device each (nothing here shares any); `clock` must be the session's.

    Attributes:
        metrics: What a trial logs in an epoch (counted from 1), asked when the report arrives.
        n_reports: Epochs reported.
        messages: What is under way, by the moment of its arrival.
    """

    n_slots: int
    clock: Clock
    delays: Delays
    metrics: Callable[[TrialAssignment, int], Mapping[str, float]] = bell_curve
    n_reports: int = 0
    messages: list[tuple[float, int, int, FromWorker]] = field(default_factory=list)
    workers: dict[int, _Worker] = field(default_factory=dict)
    _n_said: int = 0

    def device(self, slot: int) -> str:
        """Return the slot's device: each has its own."""
        return f"device {slot}"

    def start_worker(self, *, slot: int) -> int:
        """Start a worker, ready after a while."""
        worker = len(self.workers)
        self.workers[worker] = _Worker()
        ready = WorkerReady(pid=worker, device="virtual", versions={})
        self._say(worker, ready, after_seconds=self.delays.start_seconds)
        return worker

    def send(self, worker: int, message: ToWorker) -> None:
        """Take a message; the answer comes when it is due."""
        if isinstance(message, TrialAssignment):
            self._begin(self.workers[worker], message)
            self._train(worker, after_seconds=self.delays.begin_seconds)
        elif isinstance(message, Decision):
            self._obey(worker, message)
        elif isinstance(message, Inspect):
            self._say(worker, _inspected(), after_seconds=1.0)
        elif isinstance(message, TestAssignment):
            result = TestResult(
                members=tuple({"test_acc": 0.9} for _ in message.trial_keys),
                ensemble={"test_acc": 0.9},
                n_samples=1000,
                notices=(),
                error="",
                traceback="",
            )
            self._say(worker, result, after_seconds=1.0)
        elif isinstance(message, PackageAssignment):
            self._say(worker, PackageResult(is_packaged=False), after_seconds=1.0)

    def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
        """Return all that has arrived, going on to the next arrival if nothing has."""
        timeout = self.clock() + timeout_seconds
        self.clock.skip_to(min(self.messages[0][0], timeout) if self.messages else timeout)
        events: list[EngineEvent] = []
        now = self.clock()
        while self.messages and self.messages[0][0] <= now:
            _, _, worker, message = heapq.heappop(self.messages)
            if isinstance(message, EpochReport):
                message = self._with_metrics(worker, message)
            events.append(MessageReceived(worker=worker, message=message))
        return events

    def _with_metrics(self, number: int, report: EpochReport) -> EpochReport:
        assignment = self.workers[number].assignment
        assert assignment is not None
        self.n_reports += 1
        return replace(report, metrics=self.metrics(assignment, report.epoch))

    def close(self, *, timeout_seconds: float) -> None:
        """End all workers."""
        self.messages.clear()

    @property
    def trained_seconds(self) -> float:
        """Seconds that the workers trained, all together."""
        return sum(worker.trained_seconds for worker in self.workers.values())

    def _begin(self, worker: _Worker, assignment: TrialAssignment) -> None:
        worker.assignment, worker.epoch = assignment, assignment.n_epochs_reported
        factor = math.exp(random.Random(assignment.seed).gauss(0.0, self.delays.spread))
        worker.epoch_seconds = self.delays.epoch_seconds * factor

    def _train(self, number: int, *, after_seconds: float = 0.0) -> None:
        worker = self.workers[number]
        assert worker.assignment is not None
        worker.epoch += 1
        worker.trained_seconds += worker.epoch_seconds + after_seconds
        report = EpochReport(trial_key=worker.assignment.trial_key, epoch=worker.epoch, metrics={})
        self._say(number, report, after_seconds=after_seconds + worker.epoch_seconds)

    def _obey(self, number: int, decision: Decision) -> None:
        worker = self.workers[number]
        assert worker.assignment is not None
        if decision.action is Action.CONTINUE and worker.epoch < worker.assignment.n_epochs:
            self._train(number)
            return
        ended = TrialEnded(
            trial_key=decision.trial_key,
            n_epochs=worker.epoch,
            stopped_by_module=False,
            error="",
            traceback="",
            notices=(),
        )
        self._say(number, ended, after_seconds=0.0)

    def _say(self, worker: int, message: FromWorker, *, after_seconds: float) -> None:
        self._n_said += 1
        heapq.heappush(self.messages, (self.clock() + after_seconds, self._n_said, worker, message))


def _inspected() -> InspectionResult:
    return InspectionResult(
        error="",
        error_key="",
        metrics=("val_acc", "val_loss", "train_loss", "train_acc"),
        notices=(),
        n_parameters=1,
        measures_gap=True,
        has_test_data=True,
        traceback="",
    )

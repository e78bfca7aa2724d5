"""An engine whose workers answer at once from a formula: coordinators are tested without a training."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning_modules.callbacks.checkpoint_files import CHECKPOINT_NAME
from lightning_modules.checks.finding import Finding
from search.checkpoint_store import CheckpointStore
from search.engines.engine import EngineEvent, MessageReceived, WorkerLost
from search.messages import (
    Action,
    Cause,
    Decision,
    EpochReport,
    FromWorker,
    Inspect,
    InspectionResult,
    LookAssignment,
    PackageAssignment,
    PackageResult,
    Shutdown,
    TestAssignment,
    TestResult,
    ToWorker,
    TrialAssignment,
    TrialEnded,
    Views,
    WorkerReady,
)


class KilledError(BaseException):
    """Stands for the death of the coordinator: nothing of it runs on."""


EPOCH_SECONDS = 60.0
Metrics = Callable[[TrialAssignment, int], Mapping[str, float]]


def bell_curve(assignment: TrialAssignment, epoch: int) -> dict[str, float]:
    """Accuracy that grows with the epochs and is best at a learning rate of 1e-3."""
    distance = abs(math.log10(float(assignment.assembly.model_args["learning_rate"])) + 3.0)
    accuracy = (1.0 - math.exp(-0.5 * epoch)) * math.exp(-0.3 * distance) + (assignment.seed % 97) * 1e-5
    return {"train_loss": 1.0 - accuracy, "val_acc": accuracy, "gap_acc": 0.01 * epoch, "train_eval_acc": accuracy}


def usual_test(assignment: TestAssignment) -> TestResult:
    """Members that are all alike, and a better ensemble."""
    members = tuple({"test_acc": 0.9, "test_loss": 0.1} for _ in assignment.trial_keys)
    return TestResult(members=members, ensemble={"test_acc": 0.95}, n_samples=10, notices=(), error="", traceback="")


@dataclass
class Faults:
    """What goes wrong, by trial key.

    Attributes:
        raises: Trials whose training raises in their first epoch.
        diverges: Trials whose loss is NaN in their second epoch.
        loses_worker: Trial to how many times its worker dies after an epoch.
        stops_itself: Trials that the module ends after their first epoch.
        runs_out_of_memory: Trial to how many times it runs out of memory, in its second epoch.
        dies_of: Type of request (inspection, reading of the test split) to how many times its worker dies over it.
        killed_after_polls: The coordinator dies after that many polls.
    """

    raises: set[str] = field(default_factory=set)
    diverges: set[str] = field(default_factory=set)
    loses_worker: dict[str, int] = field(default_factory=dict)
    stops_itself: set[str] = field(default_factory=set)
    runs_out_of_memory: dict[str, int] = field(default_factory=dict)
    dies_of: dict[type[ToWorker], int] = field(default_factory=dict)
    killed_after_polls: int | None = None


@dataclass
class _Training:
    assignment: TrialAssignment
    epoch: int


class VirtualEngine:
    """Every worker lives in this object; checkpoints live in `checkpoints`, which outlives it like a disk.

    Attributes:
        company: For each trial and epoch that was trained, the trials on the same device at that moment.
        retired: Workers that were told to end.
        seconds: A clock by which each epoch takes a worker a minute.
    """

    def __init__(
        self,
        *,
        n_slots: int = 1,
        n_devices: int | None = None,
        checkpoints: dict[str, int] | None = None,
        faults: Faults | None = None,
        metrics: Metrics = bell_curve,
        inspection_error: tuple[str, str] = ("", ""),
        measures_gap: bool = True,
        has_test_data: bool = True,
        findings: tuple[Finding, ...] = (),
        memory: Mapping[str, int] | None = None,
        measured: tuple[str, ...] = ("train_loss", "val_acc", "gap_acc", "train_eval_acc"),
        resident_bytes: Callable[[str], int] = lambda key: 0,
        on_epoch: Callable[[EpochReport], None] = lambda report: None,
        package: Callable[[PackageAssignment], PackageResult] = lambda message: PackageResult(is_packaged=False),
        test: Callable[[TestAssignment], TestResult] = usual_test,
        n_lr_cycles: int | None = None,
    ) -> None:
        self.n_slots = n_slots
        self.n_devices = n_devices or n_slots
        self.checkpoints = {} if checkpoints is None else checkpoints
        self.faults = faults or Faults()
        self.trained: list[tuple[str, int]] = []
        self.closed = False
        self._metrics = metrics
        self._inspection_error = inspection_error
        self._measures_gap = measures_gap
        self._has_test_data = has_test_data
        self._on_epoch = on_epoch
        self._findings = findings
        self._package = package
        self._test = test
        self._n_lr_cycles = n_lr_cycles
        self._memory = memory or {}
        self._measured = measured
        self._resident_bytes = resident_bytes
        self._slots: dict[int, int] = {}
        self.company: dict[tuple[str, int], set[str]] = {}
        self.retired: list[int] = []
        self.seconds = 0.0
        self._n_started = 0
        self._n_polls = 0
        self._events: deque[EngineEvent] = deque()
        self._trainings: dict[int, _Training] = {}
        self._living: set[int] = set()

    def device(self, slot: int) -> str:
        return f"device {slot % self.n_devices}"

    def share_devices(self, *, n_sharing: int) -> None:
        self.n_slots *= n_sharing

    def start_worker(self, *, slot: int) -> int:
        worker, self._n_started = self._n_started, self._n_started + 1
        assert slot not in self._slots.values(), f"slot {slot} is taken"
        self._slots[worker] = slot
        self._living.add(worker)
        self._say(worker, WorkerReady(pid=worker, device="virtual", versions={"torch": "0"}))
        return worker

    def kill_worker(self, worker: int) -> None:
        """End a worker as SIGKILL would."""
        self._trainings.pop(worker, None)
        self._lose(worker, "killed by SIGKILL")

    def _dies_of(self, worker: int, message: ToWorker) -> bool:
        deaths = self.faults.dies_of.get(type(message), 0)
        if deaths:
            self.faults.dies_of[type(message)] = deaths - 1
            self._lose(worker, "killed by SIGSEGV", output="in forward")
        return deaths > 0

    def send(self, worker: int, message: ToWorker) -> None:
        if worker not in self._living or self._dies_of(worker, message):
            return
        if isinstance(message, Inspect):
            error, key = self._inspection_error
            self._say(
                worker,
                InspectionResult(
                    error=error,
                    error_key=key,
                    metrics=("val_acc",),
                    notices=(),
                    n_parameters=1,
                    measures_gap=self._measures_gap,
                    has_test_data=self._has_test_data,
                    traceback="",
                    measured=self._measured,
                    findings=self._findings if message.checks is not None else (),
                    n_lr_cycles=self._n_lr_cycles,
                    **self._memory,
                ),
            )
        elif isinstance(message, TrialAssignment):
            epoch = self._n_epochs_kept(message) if message.resume else 0
            self._trainings[worker] = _Training(message, epoch)
            self._train_epoch(worker)
        elif isinstance(message, Decision):
            self._obey(worker, message)
        elif isinstance(message, TestAssignment):
            self._say(worker, self._test(message))
        elif isinstance(message, LookAssignment):
            self._say(worker, Views())
        elif isinstance(message, PackageAssignment):
            self._say(worker, self._package(message))
        elif isinstance(message, Shutdown):
            self.retired.append(worker)
            self._lose(worker, "exited with status 0")
        else:
            raise AssertionError(f"virtual workers do not know the order {message!r}")

    def _n_epochs_kept(self, message: TrialAssignment) -> int:
        if message.directory in self.checkpoints or not message.inherited_directory:
            return self.checkpoints.get(message.directory, 0)
        if message.inherited_checkpoints:
            is_there = CheckpointStore(message.inherited_checkpoints).has(CHECKPOINT_NAME)
        else:
            is_there = (Path(message.inherited_directory) / CHECKPOINT_NAME).exists()
        return self.checkpoints[message.inherited_directory] if is_there else 0

    def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
        self._n_polls += 1
        if self.faults.killed_after_polls is not None and self._n_polls > self.faults.killed_after_polls:
            raise KilledError
        return self._timed([self._events.popleft()] if self._events else [])

    def _timed(self, events: list[EngineEvent]) -> list[EngineEvent]:
        n_epochs = sum(isinstance(each, MessageReceived) and isinstance(each.message, EpochReport) for each in events)
        self.seconds += n_epochs * EPOCH_SECONDS / self.n_slots
        return events

    def close(self, *, timeout_seconds: float) -> None:
        self.closed = True

    def _say(self, worker: int, message: FromWorker) -> None:
        self._events.append(MessageReceived(worker=worker, message=message))

    def _train_epoch(self, worker: int) -> None:
        training = self._trainings[worker]
        key = training.assignment.trial_key
        if key in self.faults.raises:
            self._end(worker, error="ValueError: no such layer")
            return
        if training.epoch == 1 and self.faults.runs_out_of_memory.get(key, 0):
            self.faults.runs_out_of_memory[key] -= 1
            self._end(worker, error="OutOfMemoryError: CUDA out of memory.", cause=Cause.OUT_OF_MEMORY)
            return
        training.epoch += 1
        self.company[key, training.epoch] = self._neighbours(worker)
        self.trained.append((key, training.epoch))
        metrics = dict(self._metrics(training.assignment, training.epoch))
        if key in self.faults.diverges and training.epoch == 2:
            metrics["train_loss"] = math.nan
        report = EpochReport(trial_key=key, epoch=training.epoch, metrics=metrics)
        self._on_epoch(report)
        self._say(worker, report)

    def _obey(self, worker: int, decision: Decision) -> None:
        training = self._trainings[worker]
        assert (decision.trial_key, decision.epoch) == (training.assignment.trial_key, training.epoch)
        self.checkpoints[training.assignment.directory] = training.epoch
        checkpoint = Path(training.assignment.directory) / CHECKPOINT_NAME
        checkpoint.touch()
        if training.assignment.checkpoints:
            CheckpointStore(training.assignment.checkpoints).put(checkpoint)
        deaths = self.faults.loses_worker.get(decision.trial_key, 0)
        if deaths:
            self.faults.loses_worker[decision.trial_key] = deaths - 1
            self.kill_worker(worker)
        elif decision.action is not Action.CONTINUE or training.epoch == training.assignment.n_epochs:
            self._end(worker)
        elif decision.trial_key in self.faults.stops_itself:
            self._end(worker, stopped_by_module=True)
        else:
            self._train_epoch(worker)

    def _lose(self, worker: int, reason: str, *, output: str = "") -> None:
        del self._slots[worker]
        self._living.discard(worker)
        self._events.append(WorkerLost(worker=worker, reason=reason, output=output))

    def _neighbours(self, worker: int) -> set[str]:
        device = self.device(self._slots[worker])
        return {
            training.assignment.trial_key
            for each, training in self._trainings.items()
            if each != worker and self.device(self._slots[each]) == device
        }

    def _end(
        self, worker: int, *, error: str = "", stopped_by_module: bool = False, cause: Cause = Cause.USER_CODE
    ) -> None:
        training = self._trainings.pop(worker)
        ended = TrialEnded(
            trial_key=training.assignment.trial_key,
            n_epochs=training.epoch,
            stopped_by_module=stopped_by_module,
            error=error,
            traceback="",
            notices=(),
            cause=cause,
            resident_bytes=self._resident_bytes(training.assignment.trial_key),
        )
        self._say(worker, ended)

"""An engine with one worker, which really trains, in a thread of this process: no other process has to be started."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from search.engines.engine import EngineEvent, MessageReceived, WorkerLost
from search.messages import (
    Action,
    Decision,
    FromWorker,
    Inspect,
    LookAssignment,
    PackageAssignment,
    Shutdown,
    TestAssignment,
    ToWorker,
    TrialAssignment,
    WorkerReady,
)
from search.worker.inspection import inspect_assembly
from search.worker.looking import look_inside
from search.worker.packaging import package_model
from search.worker.test_reading import read_test
from search.worker.training import train


class InnerEngine:
    """The worker's own loop, without its process."""

    n_slots = 1

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[EngineEvent | BaseException] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[ToWorker] = queue.SimpleQueue()
        self._decisions: queue.SimpleQueue[Decision] = queue.SimpleQueue()
        self._answers: Mapping[type[ToWorker], Callable[[Any], FromWorker]] = {
            Inspect: inspect_assembly,
            TrialAssignment: lambda assignment: train(assignment, _Line(self)),
            TestAssignment: read_test,
            PackageAssignment: package_model,
            LookAssignment: look_inside,
        }
        self._thread = threading.Thread(target=self._work)

    def device(self, slot: int) -> str:
        return "this process"

    def share_devices(self, *, n_sharing: int) -> None:
        raise AssertionError(f"there is one worker, in a thread of this process: nothing for {n_sharing} to share")

    def start_worker(self, *, slot: int) -> int:
        self._thread.start()
        self.send_back(WorkerReady(pid=1, device="CPU", versions={}))
        return 0

    def send(self, worker: int, message: ToWorker) -> None:
        if isinstance(message, Decision):
            self._decisions.put(message)
        elif isinstance(message, Shutdown) or type(message) in self._answers:
            self._orders.put(message)
        else:
            raise AssertionError(f"the worker in a thread of this process does not know the order {message!r}")

    def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
        try:
            event = self._events.get(timeout=timeout_seconds)
        except queue.Empty:
            return []
        if isinstance(event, BaseException):
            raise event
        return [event]

    def close(self, *, timeout_seconds: float) -> None:
        self._orders.put(Shutdown())
        if self._thread.ident is not None:
            self._thread.join()

    def send_back(self, message: FromWorker) -> None:
        self._events.put(MessageReceived(worker=0, message=message))

    def wait_for_decision(self, trial_key: str, epoch: int) -> Action:
        decision = self._decisions.get()
        assert (decision.trial_key, decision.epoch) == (trial_key, epoch)
        return decision.action

    def _work(self) -> None:
        try:
            while not isinstance(order := self._orders.get(), Shutdown):
                self.send_back(self._answers[type(order)](order))
        except BaseException as error:  # for the thread that polls, which would wait for an answer for ever
            self._events.put(error)
            return
        self._events.put(WorkerLost(worker=0, reason="exited with status 0", output=""))


class _Line:
    """What a running trial needs of its coordinator."""

    def __init__(self, engine: InnerEngine) -> None:
        self._engine = engine

    def send(self, message: FromWorker) -> None:
        self._engine.send_back(message)

    def wait_for_decision(self, trial_key: str, epoch: int) -> Action:
        return self._engine.wait_for_decision(trial_key, epoch)

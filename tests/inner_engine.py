"""An engine with one worker, which really trains, in a thread of this process: no other process has to be started."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

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
        self._events: queue.SimpleQueue[EngineEvent] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[ToWorker] = queue.SimpleQueue()
        self._decisions: queue.SimpleQueue[Decision] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work)

    def device(self, slot: int) -> str:
        return "this process"

    def share_devices(self, *, n_sharing: int) -> None:
        raise NotImplementedError

    def start_worker(self, *, slot: int) -> int:
        self._thread.start()
        self.send_back(WorkerReady(pid=1, device="CPU", versions={}))
        return 0

    def send(self, worker: int, message: ToWorker) -> None:
        (self._decisions.put if isinstance(message, Decision) else self._orders.put)(message)  # type: ignore[arg-type]

    def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
        try:
            return [self._events.get(timeout=timeout_seconds)]
        except queue.Empty:
            return []

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
        while not isinstance(order := self._orders.get(), Shutdown):
            if isinstance(order, Inspect):
                self.send_back(inspect_assembly(order))
            elif isinstance(order, TrialAssignment):
                self.send_back(train(order, _Line(self)))
            elif isinstance(order, TestAssignment):
                self.send_back(read_test(order))
            elif isinstance(order, PackageAssignment):
                self.send_back(package_model(order))
            elif isinstance(order, LookAssignment):
                self.send_back(look_inside(order))
        self._events.put(WorkerLost(worker=0, reason="exited with status 0", output=""))


class _Line:
    """What a running trial needs of its coordinator."""

    def __init__(self, engine: InnerEngine) -> None:
        self._engine = engine

    def send(self, message: FromWorker) -> None:
        self._engine.send_back(message)

    def wait_for_decision(self, trial_key: str, epoch: int) -> Action:
        return self._engine.wait_for_decision(trial_key, epoch)

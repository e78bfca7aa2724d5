"""Which workers wait for work, when one is lost in the moment in which it answered."""

from __future__ import annotations

from collections.abc import Sequence

from search.coordinator.interruption import Interruption
from search.coordinator.timesheet import Timesheet
from search.coordinator.workforce import Workforce
from search.engines.engine import EngineEvent, MessageReceived, WorkerLost
from search.messages import ToWorker, TrialEnded, WorkerReady


class ScriptedEngine:
    """Says in each poll what the test wants."""

    n_slots = 1

    def __init__(self) -> None:
        self.n_started = 0
        self.events: list[EngineEvent] = []

    def device(self, slot: int) -> str:
        return f"device {slot}"

    def share_devices(self, *, n_sharing: int) -> None: ...

    def start_worker(self, *, slot: int) -> int:
        self.n_started += 1
        ready = WorkerReady(pid=1, device="virtual", versions={})
        self.events.append(MessageReceived(worker=self.n_started - 1, message=ready))
        return self.n_started - 1

    def send(self, worker: int, message: ToWorker) -> None: ...

    def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
        events, self.events = self.events, []
        return events

    def close(self, *, timeout_seconds: float) -> None: ...


def test_a_group_that_ends_with_its_trials_error_is_given_no_other_trial() -> None:
    engine = ScriptedEngine()
    workforce = Workforce(engine, interruption=Interruption())
    workforce.poll(timeout_seconds=0.0)
    first = workforce.take_idle()
    failed = TrialEnded(
        trial_key="t", n_epochs=0, stopped_by_module=False, error="ValueError: no", traceback="", notices=()
    )
    engine.events = [
        MessageReceived(worker=first, message=failed),
        WorkerLost(worker=first, reason="ended, since one of its ranks raised", output=""),
    ]
    assert [event.worker for event in workforce.poll(timeout_seconds=0.0)] == [first, first]
    workforce.release(first)
    assert not workforce.idle
    workforce.poll(timeout_seconds=0.0)
    assert workforce.take_idle() != first
    assert workforce.n_workers == 1


def test_a_group_that_ends_out_of_memory_is_counted_once() -> None:
    engine = ScriptedEngine()
    sheet = Timesheet(clock=lambda: 0.0)
    workforce = Workforce(engine, interruption=Interruption(), timesheet=sheet)
    workforce.poll(timeout_seconds=0.0)
    busy = workforce.take_idle()
    engine.events = [WorkerLost(worker=busy, reason="ended, since one of its ranks raised", output="")]
    workforce.poll(timeout_seconds=0.0)
    workforce.retire(busy)  # its answer, out of memory, is read after its loss has been seen to
    assert (sheet.n_starting, sheet.n_idle, sheet.n_training) == (1, 0, 0)
    workforce.poll(timeout_seconds=0.0)
    assert (sheet.n_starting, sheet.n_idle, sheet.n_training) == (0, 1, 0)

"""Which workers wait for work, when one is lost in the moment in which it answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from search.coordinator.interruption import Interruption
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


@pytest.mark.parametrize("let_go", [Workforce.release, Workforce.retire])  # retired when it was out of memory
def test_a_group_that_ends_with_its_trials_error_is_given_no_other_trial(
    let_go: Callable[[Workforce, int], None],
) -> None:
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
    let_go(workforce, first)
    assert not workforce.idle
    workforce.poll(timeout_seconds=0.0)
    assert workforce.take_idle() != first
    assert workforce.n_workers == 1
    counted = workforce.timesheet
    assert (counted.n_starting, counted.n_training, counted.n_idle) == (0, 1, 0)

"""Every engine passes these: the virtual one of the tests, processes of this machine, and a Ray cluster."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from command_line import wait_for
from engine_conformance import (
    HEARTBEAT_SECONDS,
    N_SLOTS,
    Rig,
    assembly,
    assignment,
    decide,
    events_until,
    lost,
    make_engine,
    message_in,
)

from search.engines.engine import MessageReceived
from search.messages import Action, EpochReport, Inspect, InspectionResult, Shutdown, TrialEnded

without_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'zeroin[ray]'")
LOCAL = pytest.param("local", marks=pytest.mark.slow)
RAY = pytest.param("ray", marks=[pytest.mark.slow, without_ray])


@pytest.fixture(scope="module", params=["virtual", LOCAL, RAY])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with make_engine(request.param) as engine, contextlib.ExitStack() as stack:
        made = Rig(engine=engine)
        if request.param == "local":  # those that replace its first workers
            stack.enter_context(request.getfixturevalue("worker_template").used())
        yield made
        made.end()


def test_each_worker_says_once_that_it_is_ready(rig: Rig) -> None:
    assert rig.engine.n_slots == N_SLOTS == len(rig.ready)
    assert all("torch" in ready.versions for ready in rig.ready.values())
    began = time.monotonic()
    # Longer than a heartbeat: those are the engine's own affair.
    assert rig.engine.poll(timeout_seconds=1.5) == []
    assert time.monotonic() - began < 3.0


def test_trials_on_all_workers_report_in_order_and_obey(rig: Rig, tmp_path: Path) -> None:
    keys = {worker: f"trial-{worker:04d}" for worker in rig.ready}
    for worker, key in keys.items():
        rig.engine.send(worker, assignment(tmp_path / key))
    epochs: dict[int, list[int]] = {worker: [] for worker in keys}
    ended: dict[int, TrialEnded] = {}
    while len(ended) < len(keys):
        for event in rig.engine.poll(timeout_seconds=60.0):
            assert isinstance(event, MessageReceived), event
            message = event.message
            assert isinstance(message, EpochReport | TrialEnded)
            assert message.trial_key == keys[event.worker]
            if isinstance(message, TrialEnded):
                ended[event.worker] = message
                continue
            assert 0.0 <= message.metrics["val_acc"] <= 1.0
            epochs[event.worker].append(message.epoch)
            action = Action.STOP if message.epoch == 2 and event.worker == max(keys) else Action.CONTINUE
            rig.engine.send(event.worker, decide(message.trial_key, message.epoch, action))
    expected = {worker: [1, 2] if worker == max(keys) else [1, 2, 3] for worker in keys}
    assert epochs == expected
    assert {worker: end.n_epochs for worker, end in ended.items()} == {
        worker: len(epochs) for worker, epochs in expected.items()
    }
    assert all(end.error == "" for end in ended.values())


def test_a_question_is_answered_by_the_one_who_was_asked(rig: Rig) -> None:
    for worker in rig.ready:
        rig.engine.send(worker, Inspect(assembly=assembly(), searched=("model.learning_rate",)))
        (event,) = events_until(rig.engine, 1)
        assert event.worker == worker
        assert message_in(event, InspectionResult).error == ""


def test_a_killed_worker_is_lost_once_and_its_trial_goes_on_elsewhere(rig: Rig, tmp_path: Path) -> None:
    first, other = sorted(rig.ready)
    given = assignment(tmp_path / "trial-0000")
    rig.engine.send(first, given)
    for epoch in (1, 2):
        (event,) = events_until(rig.engine, 1)
        assert message_in(event, EpochReport).epoch == epoch
        if epoch == 1:
            rig.engine.send(first, decide(given.trial_key, epoch))
    wait_for(lambda: any(tmp_path.glob("*/*.ckpt")), seconds=5.0)
    rig.kill(first)
    rig.engine.send(first, decide(given.trial_key, 2))  # nobody knows yet
    assert "killed by SIGKILL" in lost(rig.engine, first).reason
    del rig.ready[first]
    rig.engine.send(first, decide(given.trial_key, 2))
    rig.engine.send(first, Shutdown())
    assert rig.engine.poll(timeout_seconds=0.2) == []
    # What the coordinator has seen may be one epoch more than what the checkpoint has: it is trained again.
    rig.engine.send(other, replace(given, n_epochs_reported=2))
    reported = []
    while True:
        (event,) = events_until(rig.engine, 1)
        if isinstance(event, MessageReceived) and isinstance(event.message, TrialEnded):
            break
        reported.append(message_in(event, EpochReport).epoch)
        rig.engine.send(other, decide(given.trial_key, reported[-1]))
    assert reported in ([3], [2, 3])
    assert (event.message.n_epochs, event.message.error) == (3, "")
    before = set(rig.ready)
    rig.fill()
    (new,) = set(rig.ready) - before
    assert new > max(first, other)  # a number is never used again


def test_a_hung_worker_is_lost_after_its_silence_and_killed(rig: Rig) -> None:
    if rig.suspend is None:
        pytest.skip("the virtual engine's workers cannot hang")
    worker = max(rig.ready)
    rig.suspend(worker)
    began = time.monotonic()
    event = lost(rig.engine, worker, seconds=30.0)
    assert HEARTBEAT_SECONDS / 2 < time.monotonic() - began < 4 * HEARTBEAT_SECONDS
    assert f"no heartbeat for {HEARTBEAT_SECONDS:.0f} s" in event.reason
    pid = rig.ready.pop(worker).pid
    wait_for(lambda: not psutil.pid_exists(pid), seconds=5.0)
    assert rig.engine.poll(timeout_seconds=1.5) == []  # the other one is not blamed


def test_a_crashed_worker_shows_what_it_printed(rig: Rig) -> None:
    if rig.crash is None:
        pytest.skip("the virtual engine's workers print nothing")
    worker = min(rig.ready)
    rig.crash(worker)
    event = lost(rig.engine, worker)
    assert "killed by SIGSEGV" in event.reason
    assert "Fatal Python error: Segmentation fault" in event.output
    del rig.ready[worker]

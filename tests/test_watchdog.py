"""A training that hangs in a living process is noticed; one that is slow, waits or was suspended is not."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import Coordinator, assignment

from search.worker.training import train
from search.worker.watchdog import SilenceMeter, Watchdog


def test_silence_beyond_the_limit_is_a_hang() -> None:
    meter = SilenceMeter(limit_seconds=60.0)
    assert [meter.hangs(passed_seconds=20.0, n_signs=0) for _ in range(4)] == [False, False, False, True]


def test_a_training_whose_batches_are_slow_is_given_ten_times_the_longest() -> None:
    meter = SilenceMeter(limit_seconds=60.0)
    meter.hangs(passed_seconds=1.0, n_signs=1)
    for _ in range(50):
        assert not meter.hangs(passed_seconds=1.0, n_signs=1)
    meter.hangs(passed_seconds=1.0, n_signs=2)
    assert meter.limit_seconds == 500.0


def test_the_time_before_the_first_batch_makes_nobody_patient() -> None:
    meter = SilenceMeter(limit_seconds=60.0)
    assert not meter.hangs(passed_seconds=59.0, n_signs=0)
    meter.hangs(passed_seconds=1.0, n_signs=1)
    assert meter.limit_seconds == 60.0


@settings(deadline=None)
@given(
    limit_seconds=st.floats(0.01, 1e6),
    beats=st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(0, 3)), max_size=200),
)
def test_no_hang_is_seen_within_the_limit(limit_seconds: float, beats: list[tuple[float, int]]) -> None:
    meter, n_signs, silent_seconds = SilenceMeter(limit_seconds=limit_seconds), 0, 0.0
    for passed_seconds, n_new in beats:
        n_signs += n_new
        silent_seconds = 0.0 if n_new else silent_seconds + passed_seconds
        hangs = meter.hangs(passed_seconds=passed_seconds, n_signs=n_signs)
        assert not hangs or silent_seconds > limit_seconds


@pytest.mark.slow
def test_waiting_for_the_coordinator_is_no_hang_but_silence_is() -> None:
    barked = threading.Event()
    watchdog = Watchdog(limit_seconds=2.0, on_hang=lambda seconds: barked.set())
    with watchdog.watching():
        with watchdog.excused():
            time.sleep(4.0)
        assert not barked.is_set()
        assert barked.wait(10.0)


def test_without_a_limit_nothing_is_watched() -> None:
    n_threads = threading.active_count()
    with Watchdog(limit_seconds=None, on_hang=lambda seconds: None).watching():
        assert threading.active_count() == n_threads


def test_batches_of_the_gap_are_signs_of_life_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signs: list[None] = []
    monkeypatch.setattr(Watchdog, "show_life", lambda self: signs.append(None))
    assert train(assignment(tmp_path, hang_timeout_seconds=60.0), Coordinator()).error == ""
    assert len(signs) == 3 * 2  # epochs, batches of the train subset

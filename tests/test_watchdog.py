"""A training that hangs in a living process is noticed; one that is slow, waits or was suspended is not."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from faulty_net import StuckTestData
from hypothesis import given
from hypothesis import strategies as st
from small_training import Coordinator, Net, assembly, assignment

from lightning_modules.callbacks.checkpoint_files import WEIGHTS_NAME
from lightning_modules.callbacks.epoch_checkpoint import save_weights
from search.messages import TestAssignment
from search.worker.test_reading import read_test
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


class Lingering(Net):
    """Stays in its third batch until the watchdog has looked, and found the signs of all batches so far."""

    n_signs = 0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        deadline = time.monotonic() + 10.0
        while batch_idx == 2 and Lingering.n_signs < 5 and time.monotonic() < deadline:
            time.sleep(0.01)


@pytest.mark.slow
def test_batches_of_the_test_split_are_signs_of_life_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(meter: SilenceMeter, *, passed_seconds: float, n_signs: int) -> bool:
        monkeypatch.setattr(Lingering, "n_signs", n_signs)
        return False

    monkeypatch.setattr(SilenceMeter, "hangs", look)
    save_weights(tmp_path / WEIGHTS_NAME, Lingering().state_dict())
    order = TestAssignment(
        assembly=assembly(Lingering, StuckTestData, data_args={"made": str(tmp_path)}),
        trial_keys=("refit-seed0",),
        directories=(str(tmp_path),),
        ensemble=False,
    )
    watchdog = Watchdog(limit_seconds=60.0, on_hang=lambda seconds: None)
    with watchdog.watching():
        result = read_test(order, callbacks=(watchdog,))
    assert (result.error, result.n_samples) == ("", 50)
    assert Lingering.n_signs >= 5  # the start and the end of two batches, and the start of the third

"""Notice a training that hangs while its process lives: a deadlock in a loader worker, a lock never released.

The heartbeat shows that the process is alive; this shows that its training is. What counts is finished batches.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning import Callback

from search.messages import Action, Farewell, FromWorker
from search.worker.connection import Coordinator, end_process_group

_BEAT_SECONDS = 1.0
_GENEROSITY = 10.0
"""A silence this many times as long as the longest one so far is no slow batch any more."""


class SilenceMeter:
    """Judges how long nothing has been heard; pure, its caller brings the time.

    Args:
        limit_seconds: Shortest silence that counts as a hang, > 0. If there have been longer ones, ten times the
            longest between two signs counts: what a training does once, it may do again, and slower.
    """

    def __init__(self, *, limit_seconds: float) -> None:
        self._shortest_seconds = limit_seconds
        self._longest_seconds = 0.0
        self._n_signs = 0
        self.silent_seconds = 0.0

    @property
    def limit_seconds(self) -> float:
        """Silence that counts as a hang now."""
        return max(self._shortest_seconds, _GENEROSITY * self._longest_seconds)

    def hangs(self, *, passed_seconds: float, n_signs: int) -> bool:
        """Take note of time that passed.

        Args:
            passed_seconds: Time since the last call, >= 0; a silence is measured no more exactly than that.
            n_signs: Signs of life so far, never fewer than in the last call.

        Returns:
            Whether the silence has become longer than the limit.
        """
        if n_signs == self._n_signs:
            self.silent_seconds += passed_seconds
            return self.silent_seconds > self.limit_seconds
        if self._n_signs:  # what comes before the first batch, imports and downloads, happens once
            self._longest_seconds = max(self._longest_seconds, self.silent_seconds)
        self._n_signs, self.silent_seconds = n_signs, 0.0
        return False


class Watchdog(Callback):
    """Watches one run of a trainer from a thread of its own, from `watching` on; batches and epochs are signs of life.

    Args:
        limit_seconds: See `SilenceMeter`; None to watch nothing.
        on_hang: Called once, in the thread, with the silence in seconds.
    """

    def __init__(self, *, limit_seconds: float | None, on_hang: Callable[[float], None]) -> None:
        self._limit_seconds = limit_seconds
        self._on_hang = on_hang
        self._n_signs = 0
        self._is_excused = False
        self._over = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what is done in the block."""
        if self._limit_seconds is None:
            yield
            return
        meter = SilenceMeter(limit_seconds=self._limit_seconds)
        thread = threading.Thread(target=self._watch, args=(meter,), name="hang-watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    @contextmanager
    def excused(self) -> Iterator[None]:
        """Expect no sign of life in the block, in which somebody else is waited for."""
        self._is_excused = True
        try:
            yield
        finally:
            self._n_signs += 1
            self._is_excused = False

    def show_life(self, *_: Any, **__: Any) -> None:
        """Take note of a sign of life: one of these hooks, or something of which no hook of the trainer tells."""
        self._n_signs += 1

    on_train_batch_start = on_train_batch_end = show_life
    on_validation_batch_start = on_validation_batch_end = show_life
    on_test_batch_start = on_test_batch_end = show_life
    on_train_epoch_end = show_life

    def _watch(self, meter: SilenceMeter) -> None:
        looked = time.monotonic()
        while not self._over.wait(_BEAT_SECONDS):
            now = time.monotonic()
            # A process that was suspended, with its coordinator perhaps, could not have shown any life.
            passed_seconds = 0.0 if self._is_excused else min(now - looked, 2.0 * _BEAT_SECONDS)
            looked = now
            if meter.hangs(passed_seconds=passed_seconds, n_signs=self._n_signs):
                self._on_hang(meter.silent_seconds)
                return


class PatientCoordinator:
    """A `Coordinator` that may take its time: waiting for it is no hang."""

    def __init__(self, coordinator: Coordinator, watchdog: Watchdog) -> None:
        self._coordinator = coordinator
        self._watchdog = watchdog

    def send(self, message: FromWorker) -> None:
        """Send a message."""
        with self._watchdog.excused():
            self._coordinator.send(message)

    def wait_for_decision(self, trial_key: str, epoch: int) -> Action:
        """Wait for the answer to the report of that epoch."""
        with self._watchdog.excused():
            return self._coordinator.wait_for_decision(trial_key, epoch)


def end_hung_worker(
    coordinator: Coordinator,
    silent_seconds: float,
    *,
    where: str = "where it was stands at the end of the trial's output.log",
) -> None:
    """Write to the output where every thread is, tell the coordinator why, and kill this process and its children."""
    faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
    coordinator.send(
        Farewell(
            reason=f"hung, no batch was finished for {silent_seconds / 60.0:.1f} min (resources.hang_timeout_minutes); "
            f"{where}"
        )
    )
    end_process_group()

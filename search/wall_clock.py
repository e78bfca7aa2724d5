"""The time of day, for what is recorded: it never goes back, whatever is done to the computer's clock."""

from __future__ import annotations

import time
from collections.abc import Callable


class WallClock:
    """Unix time that goes on at its pace when the computer's clock is set back, until that has caught up.

    Durations are never taken from it, but from a monotonic clock; times of one study are, however, compared and
    subtracted by those who look at them (MLflow's duration of a run).

    Args:
        unix_seconds: Reads the computer's clock.
        monotonic_seconds: Reads a clock that nobody sets.
    """

    def __init__(
        self,
        *,
        unix_seconds: Callable[[], float] = lambda: time.time(),
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._unix_seconds = unix_seconds
        self._monotonic_seconds = monotonic_seconds
        self._last_ms = 0.0
        self._read_at = monotonic_seconds()

    def now_ms(self) -> int:
        """Return Unix time in milliseconds, never less than before."""
        now = self._monotonic_seconds()
        least_ms = self._last_ms + 1000.0 * (now - self._read_at) if self._last_ms else 0.0
        self._last_ms, self._read_at = max(1000.0 * self._unix_seconds(), least_ms), now
        return int(self._last_ms)

    def witnessed(self, time_ms: int) -> None:
        """Take note of a time that was recorded before, by an earlier session perhaps."""
        if time_ms > self.now_ms():
            self._last_ms = float(time_ms)


CLOCK = WallClock()
"""The process's clock."""

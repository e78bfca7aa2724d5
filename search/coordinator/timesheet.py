"""What the workers' time goes into, counted as it passes."""

from __future__ import annotations

import time
from collections.abc import Callable

from search.device_use import DeviceUse


class Timesheet:
    """Worker seconds by `DeviceUse`; a change costs the same however many workers there are.

    Attributes:
        n_starting: Workers that are starting, or that are replaced.
        n_training: Workers that have a trial.
        n_idle: The others; `idle_for` says what they wait for.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no workers.

        Args:
            clock: Seconds; never goes back.
        """
        self.n_starting = self.n_training = self.n_idle = 0
        self._clock = clock
        self._counted_to = clock()
        self._idle_for = DeviceUse.STARTING
        self._seconds = dict.fromkeys(DeviceUse, 0.0)
        self._occupied_seconds = 0.0

    @property
    def now(self) -> float:
        """The clock's time in seconds."""
        return self._clock()

    def change(self, *, starting: int = 0, training: int = 0, idle: int = 0) -> None:
        """Note that so many workers more (fewer, if negative) are in each state from now on."""
        self._count()
        self.n_starting += starting
        self.n_training += training
        self.n_idle += idle

    def idle_for(self, use: DeviceUse) -> None:
        """Note what idle workers wait for from now on."""
        if use is not self._idle_for:
            self._count()
            self._idle_for = use

    def waited(self, seconds: float) -> None:
        """Note that a worker with a trial waited for the coordinator so long."""
        self._seconds[DeviceUse.TRAINING] -= seconds
        self._seconds[DeviceUse.BETWEEN_TRIALS] += seconds

    @property
    def occupied_seconds(self) -> float:
        """Worker seconds with a trial so far, waiting for the coordinator included."""
        self._count()
        return self._occupied_seconds

    @property
    def seconds(self) -> dict[str, float]:
        """Worker seconds so far, by use."""
        self._count()
        return {use.value: seconds for use, seconds in self._seconds.items()}

    def _count(self) -> None:
        now = self._clock()
        passed, self._counted_to = now - self._counted_to, now
        self._occupied_seconds += passed * self.n_training
        self._seconds[DeviceUse.STARTING] += passed * self.n_starting
        self._seconds[DeviceUse.TRAINING] += passed * self.n_training
        self._seconds[self._idle_for] += passed * self.n_idle

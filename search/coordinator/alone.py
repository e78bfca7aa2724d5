"""Trials that ran out of memory: each is tried once more, with its device for itself."""

from __future__ import annotations

from collections import deque

from search.coordinator.live_trial import LiveTrial


class RetriesAlone:
    """Which devices are kept free for such a trial, and which trials have had their chance."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[LiveTrial]] = {}
        self._running: dict[str, str] = {}
        self._tried: set[str] = set()

    def __bool__(self) -> bool:
        """Whether a trial waits for its device."""
        return bool(self._waiting)

    @property
    def devices(self) -> set[str]:
        """Devices on which no other trial may start or go on."""
        return {*self._waiting, *self._running}

    def admits(self, trial: LiveTrial) -> bool:
        """Whether the trial has not been tried alone yet."""
        return trial.record.key not in self._tried

    def add(self, trial: LiveTrial, *, device: str) -> None:
        """Let the trial wait until the device is free; again, if it lost its worker while it had it for itself."""
        self._tried.add(trial.record.key)
        self._waiting.setdefault(device, deque()).append(trial)

    def next_for(self, device: str) -> LiveTrial | None:
        """Take the trial that is to run alone on a device on which nothing runs, if one waits for it."""
        trials = self._waiting.get(device)
        if not trials:
            return None
        trial = trials.popleft()
        if not trials:
            del self._waiting[device]
        self._running[device] = trial.record.key
        return trial

    def is_alone(self, trial: LiveTrial) -> bool:
        """Whether the trial has its device for itself right now."""
        return trial.record.key in self._running.values()

    def left(self, trial: LiveTrial) -> None:
        """The trial has left its device, if it had one for itself."""
        self._running = {device: key for device, key in self._running.items() if key != trial.record.key}

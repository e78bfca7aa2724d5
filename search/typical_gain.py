"""What trials of one schedule horizon typically gain from some number of epochs to the longest training."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from search.reward import score
from search.study_definition import Objective
from search.trial import FinishedTrial, Score, TrialRecord, TrialState

Reading: TypeAlias = Callable[[Score], float]
"""What of a score is looked at."""


class TypicalGain:
    """Median gain from e epochs to the longest training among trials of one schedule horizon.

    Args:
        objective: What is optimized.
        reading: Whose gain: the reward, or what a further objective comes to.
    """

    def __init__(self, objective: Objective, reading: Reading) -> None:
        self._objective = objective
        self._reading = reading
        self._target_epochs = 0
        self._longest: list[FinishedTrial] = []
        self._gains: dict[int, list[float]] = {}  # ascending, by the number of epochs that they are counted from

    def add(self, trial: FinishedTrial) -> None:
        """Take note of a trial whose reward is finite."""
        n_epochs = effective_epochs(trial.record)
        if n_epochs > self._target_epochs:
            self._target_epochs, self._longest = n_epochs, []
            self._gains.clear()
        if n_epochs == self._target_epochs:
            self._longest.append(trial)
            for earlier_epochs, gains in self._gains.items():
                self._count(trial, earlier_epochs, gains)

    def after(self, n_epochs: int) -> float:
        """Return the gain still to come after `n_epochs`; 0 where no longer trial tells."""
        if n_epochs >= self._target_epochs:
            return 0.0
        if n_epochs not in self._gains:
            gains = self._gains[n_epochs] = []
            for trial in self._longest:
                self._count(trial, n_epochs, gains)
        return _median(self._gains[n_epochs])

    def _count(self, trial: FinishedTrial, n_epochs: int, gains: list[float]) -> None:
        earlier = score_after(trial.record, n_epochs, self._objective)
        assert trial.score is not None
        gain = math.nan if earlier is None else self._reading(trial.score) - self._reading(earlier)
        if math.isfinite(gain):
            insort(gains, gain)


def _median(ascending: list[float]) -> float:
    if not ascending:
        return 0.0
    middle = len(ascending) // 2
    return ascending[middle] if len(ascending) % 2 else (ascending[middle - 1] + ascending[middle]) / 2


def effective_epochs(record: TrialRecord) -> int:
    """Return the epochs that the trial counts as having had: one that stopped early has a flat curve from there on."""
    return record.n_epochs if record.state is TrialState.STOPPED_EARLY else len(record.epochs)


def score_after(record: TrialRecord, n_epochs: int, objective: Objective) -> Score | None:
    """Return the score as it stood after the first `n_epochs`, None if there was none."""
    cut = replace(record, epochs=record.epochs[:n_epochs], state=TrialState.RUNNING)
    return score(cut, objective)

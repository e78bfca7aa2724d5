"""Which checkpoints of ended trials stay on the disk: those of the best trials, since a study can have thousands."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence

from search.paths import StudyPaths
from search.study_definition import Direction
from search.trial import FinishedTrial

_N_KEPT = 3


class BestCheckpoints:
    """Removes the checkpoints of trials that have ended, but for the best fully trained ones.

    Args:
        paths: The study's files.
        direction: Whether more reward is better.
    """

    def __init__(self, paths: StudyPaths, *, direction: Direction) -> None:
        self._paths = paths
        self._sign = direction.sign
        self._best: list[tuple[float, int, str]] = []

    def tidy(self, finished: Sequence[FinishedTrial]) -> None:
        """Look at all ended trials, as a crash may have left any of their checkpoints behind."""
        for trial in finished:
            self.departed(trial)

    def departed(self, trial: FinishedTrial) -> None:
        """Look at the trial that a worker has just let go of, and at the one that it displaces."""
        record, score = trial.record, trial.score
        displaced = record.key
        self._paths.trial(record.key).remove_previous_checkpoint()
        if record.state.is_fully_trained and score is not None and math.isfinite(score.reward):
            assert record.number is not None
            insort(self._best, (-self._sign * score.reward, record.number, record.key))
            if len(self._best) <= _N_KEPT:
                return
            displaced = self._best.pop()[2]
        self._paths.trial(displaced).remove_checkpoints()

"""Which checkpoints of ended trials stay on the disk: those of the best trials, since a study can have thousands."""

from __future__ import annotations

import math
from collections.abc import Sequence

from search.paths import StudyPaths
from search.study_definition import Direction
from search.trial import FinishedTrial, TrialRecord

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
        self._kept: set[str] = set()

    def tidy(self, finished: Sequence[FinishedTrial]) -> None:
        """Look at all ended trials, as a crash may have left any of their checkpoints behind."""
        self._keep(finished, suspects={trial.record.key for trial in finished})

    def departed(self, record: TrialRecord, finished: Sequence[FinishedTrial]) -> None:
        """Look at the trial that a worker has just let go of, and at those that it displaces."""
        self._keep(finished, suspects=self._kept | {record.key})

    def _keep(self, finished: Sequence[FinishedTrial], *, suspects: set[str]) -> None:
        rewards = {
            trial.record.key: self._sign * trial.score.reward
            for trial in finished
            if trial.record.state.is_fully_trained and trial.score is not None and math.isfinite(trial.score.reward)
        }
        best = set(sorted(rewards, key=lambda key: rewards[key], reverse=True)[:_N_KEPT])
        for key in suspects:
            self._paths.trial(key).remove_previous_checkpoint()
        for key in suspects - best:
            self._paths.trial(key).remove_checkpoints()
        self._kept = best

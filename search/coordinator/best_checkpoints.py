"""Which checkpoints of ended trials stay on the disk: few, since a study can have thousands of trials."""

from __future__ import annotations

import math
from bisect import insort

from search.coordinator.history import History
from search.coordinator.promotions import Promotions
from search.paths import StudyPaths
from search.reward import rank_key
from search.study_definition import Objective
from search.trial import FinishedTrial

_N_KEPT = 3


class BestCheckpoints:
    """Removes the checkpoints of trials that have ended, but for the best fully trained ones and those to be continued.

    Args:
        paths: The study's files.
        objective: What is optimized.
        history: The study's trials.
        promotions: Which checkpoints others continue from.
    """

    def __init__(self, paths: StudyPaths, *, objective: Objective, history: History, promotions: Promotions) -> None:
        self._paths = paths
        self._objective = objective
        self._history = history
        self._promotions = promotions
        self._best: list[tuple[tuple[float, ...], int, str]] = []
        self._present: set[str] = set()

    def tidy(self) -> None:
        """Look at all ended trials, as a crash may have left any of their checkpoints behind."""
        for trial in self._history.finished:
            self._take_in(trial)
        self._remove_needless()

    def departed(self, trial: FinishedTrial) -> None:
        """Look at the trial that a worker has just let go of, and at those that are not needed any more."""
        self._take_in(trial)
        self._remove_needless()

    def _take_in(self, trial: FinishedTrial) -> None:
        record, score = trial.record, trial.score
        self._paths.trial(record.key).remove_previous_checkpoint()
        self._present.add(record.key)
        if record.state.is_fully_trained and score is not None and math.isfinite(score.reward):
            assert record.number is not None
            insort(self._best, (rank_key(score, self._objective), record.number, record.key))
        if record.continues or len(self._best) > _N_KEPT:
            self._best = [each for each in self._best if not self._history.is_superseded(each[2])][:_N_KEPT]

    def _remove_needless(self) -> None:
        needless = self._present.difference((key for _, _, key in self._best), self._promotions.needed_keys)
        for key in sorted(needless):
            self._paths.trial(key).remove_checkpoints()
        self._present -= needless

"""Successive halving among trials that climb the same rungs: after so many epochs, one in so many goes on."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from search.pruning.monitored import MonitoredMetric
from search.trial import TrialRecord


class Rungs:
    """Epochs ``first``, ``first * factor``, ``first * factor**2``, …, at each of which only the best may go on.

    At a rung, a trial goes on if fewer than ``max(n // factor, 1)`` of the others that have reached it were better
    there, with n counting itself. All that have reached a rung count, whatever became of them: the pruned ones, or only
    survivors would be compared, and those still running, or many workers would compare with nothing. What counts is the
    best value by that epoch, not the one at it, since that is what rewards are made of.

    Args:
        first_epochs: The first rung, >= 1.
        factor: What the epochs grow by from rung to rung, and one in how many goes on, >= 2.
        metric: What is compared.
    """

    def __init__(self, *, first_epochs: int, factor: int, metric: MonitoredMetric) -> None:
        self._first_epochs = first_epochs
        self._factor = factor
        self._metric = metric
        self._rungs: dict[int, _Rung] = {}
        self._origins: dict[str, str] = {}

    def learn(self, record: TrialRecord) -> None:
        """Take note of how the trial stood at every rung that it has reached; it is one with the trial it continues."""
        origin = self._origin(record)
        self._origins[record.key] = origin
        for epoch, best in self._standings(record).items():
            self._rungs.setdefault(epoch, _Rung()).put(origin, self._metric.direction.sign * best)

    def prune_reason(self, record: TrialRecord) -> str:
        """Return why a trial must not go on from the rung that it has reached, or an empty string.

        A trial between two rungs, or at its last epoch, is left alone.
        """
        epoch = len(record.epochs)
        best = self._standings(record).get(epoch)
        if best is None or epoch >= record.n_epochs:
            return ""
        rung = self._rungs.get(epoch, _Rung())
        n_better, n_others = rung.others(self._origin(record), better_than=self._metric.direction.sign * best)
        n_trials = n_others + 1
        n_kept = max(n_trials // self._factor, 1)
        if n_better < n_kept:
            return ""
        return (
            f"best {best:.6g} by epoch {epoch} is {self._metric.worse} that of {n_better} of the {n_others} other "
            f"trials that reached that epoch; the best {n_kept} of {n_trials} go on (one in {self._factor})"
        )

    def _origin(self, record: TrialRecord) -> str:
        """Return the first trial of those that continue one another."""
        return self._origins.get(record.continues, record.continues) or record.key

    def _standings(self, record: TrialRecord) -> dict[int, float]:
        """Return the best value by each rung that the trial has reached with a finite value."""
        values = self._metric.finite_values(record)
        standings: dict[int, float] = {}
        best: float | None = None
        next_rung = self._first_epochs
        for epoch in range(1, len(record.epochs) + 1):
            value = values.get(epoch)
            if value is not None and (best is None or self._metric.is_worse(best, than=value)):
                best = value
            if epoch == next_rung:
                next_rung *= self._factor
                if best is not None and value is not None:
                    standings[epoch] = best
        return standings


class _Rung:
    """How trials stood at one rung; more is better."""

    def __init__(self) -> None:
        self._of_trial: dict[str, float] = {}
        self._ascending: list[float] = []

    def put(self, key: str, value: float) -> None:
        known = self._of_trial.get(key)
        if known == value:
            return
        if known is not None:  # an epoch that was trained again
            del self._ascending[bisect_left(self._ascending, known)]
        self._of_trial[key] = value
        insort(self._ascending, value)

    def others(self, key: str, *, better_than: float) -> tuple[int, int]:
        """Return how many other trials stood better, and how many there are."""
        own = self._of_trial.get(key)
        n_better = len(self._ascending) - bisect_right(self._ascending, better_than)
        if own is None:
            return n_better, len(self._ascending)
        return n_better - (own > better_than), len(self._ascending) - 1

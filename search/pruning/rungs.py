"""Successive halving among trials that climb the same rungs: after so many epochs, one in so many goes on."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from search.pruning.epoch_rewards import EpochRewards
from search.trial import TrialRecord


class Rungs:
    """Epochs ``first``, ``first * factor``, ``first * factor**2``, …, at each of which only the best may go on.

    At a rung, a trial goes on if fewer than ``max(n // factor, 1)`` of the others that have reached it were better
    there, with n counting itself. All that have reached a rung count, whatever became of them: the pruned ones, or only
    survivors would be compared, and those still running, or many workers would compare with nothing; but none that
    breaks a constraint. What counts is the reward so far, that of the best epoch by then.

    Args:
        first_epochs: The first rung, >= 1.
        factor: What the epochs grow by from rung to rung, and one in how many goes on, >= 2.
        rewards: What is compared.
        origins: Of the trials, which several may share.
    """

    def __init__(self, *, first_epochs: int, factor: int, rewards: EpochRewards, origins: Origins) -> None:
        self._first_epochs = first_epochs
        self._factor = factor
        self._rewards = rewards
        self._rungs: dict[int, _Rung] = {}
        self._origins = origins

    def learn(self, record: TrialRecord) -> None:
        """Take note of how the trial stood at every rung that it has reached; it is one with the trial it continues."""
        origin = self._origins.learn(record)
        if not self._rewards.is_rival(record):
            self.drop(origin)
            return
        for epoch, best in self._standings(record).items():
            self._rungs.setdefault(epoch, _Rung()).put(origin, self._rewards.direction.sign * best)

    def drop(self, origin: str) -> None:
        """Forget how a trial, and what continues it, stood."""
        for rung in self._rungs.values():
            rung.drop(origin)

    def prune_reason(self, record: TrialRecord) -> str:
        """Return why a trial must not go on from the rung that it has reached, or an empty string.

        A trial between two rungs, or at its last epoch, is left alone.
        """
        epoch = len(record.epochs)
        best = self._standings(record).get(epoch)
        if best is None or epoch >= record.n_epochs:
            return ""
        rung = self._rungs.get(epoch, _Rung())
        n_better, n_others = rung.others(self._origins.of(record), better_than=self._rewards.direction.sign * best)
        n_trials = n_others + 1
        n_kept = max(n_trials // self._factor, 1)
        if n_better < n_kept:
            return ""
        return (
            f"{self._rewards.word} {best:.6g} by epoch {epoch} is {self._rewards.worse} that of {n_better} of the "
            f"{n_others} other trials that reached that epoch; the best {n_kept} of {n_trials} go on "
            f"(one in {self._factor})"
        )

    def _standings(self, record: TrialRecord) -> dict[int, float]:
        """Return the reward so far at each rung that the trial has reached with a finite value."""
        rewards = self._rewards.so_far(record)
        standings: dict[int, float] = {}
        rung = self._first_epochs
        while rung <= len(record.epochs):
            if rung in rewards:
                standings[rung] = rewards[rung]
            rung *= self._factor
        return standings


class Origins:
    """Which trials are one because they continue one another."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def learn(self, record: TrialRecord) -> str:
        """Take note of a trial, after the one that it continues, and return its origin."""
        origin = self._known[record.key] = self.of(record)
        return origin

    def of(self, record: TrialRecord) -> str:
        """Return the first of the trials that continue one another up to this one."""
        return self._known.get(record.continues, record.continues) or record.key


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

    def drop(self, key: str) -> None:
        known = self._of_trial.pop(key, None)
        if known is not None:
            del self._ascending[bisect_left(self._ascending, known)]

    def others(self, key: str, *, better_than: float) -> tuple[int, int]:
        """Return how many other trials stood better, and how many there are."""
        own = self._of_trial.get(key)
        n_better = len(self._ascending) - bisect_right(self._ascending, better_than)
        if own is None:
            return n_better, len(self._ascending)
        return n_better - (own > better_than), len(self._ascending) - 1

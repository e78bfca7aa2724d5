"""Hyperband: successive halving in several brackets."""

from __future__ import annotations

import math
import zlib

from search.pruner_settings import HyperbandSettings
from search.pruning.epoch_rewards import EpochRewards
from search.pruning.rungs import Origins, Rungs
from search.trial import TrialRecord


class HyperbandPruner:
    """Prunes by successive halving (`Rungs`) within brackets that begin to compare at different epochs.

    The more epochs a trial may have, the more brackets: with at most R epochs, as many as there are rungs
    ``min_epochs * reduction_factor**bracket <= R``; bracket b has its first rung there. The last bracket guards against
    curves that cross: where its rung is R, its trials are not pruned at all. Which bracket a trial is in follows from
    its number, by a hash, with the shares that Hyperband gives the brackets. Trials of different epochs at most meet in
    the brackets that both have, if their schedule horizons are the same.

    Verdicts are those of `optuna.pruners.HyperbandPruner` for a study named ``trial`` with ``max_resource`` R, where
    curves only improve; for the rest, see `search.pruning.asha.AshaPruner`. The name of the study plays no role, so
    that a study and its copy decide alike.

    Source: Li et al., "Hyperband: a novel bandit-based approach to hyperparameter optimization", JMLR 18 (2018).

    Args:
        settings: The first bracket's rungs.
        rewards: What is compared.
    """

    def __init__(self, settings: HyperbandSettings, rewards: EpochRewards) -> None:
        self._settings = settings
        self._rewards = rewards
        self._origins = Origins()
        self._rungs_by_bracket: dict[tuple[int, int], Rungs] = {}  # by horizon and bracket

    def learn(self, record: TrialRecord) -> None:
        """Take note of how the trial stood at its bracket's rungs, whatever its state."""
        self._rungs(record, self._bracket(record)[0]).learn(record)
        if not self._rewards.is_rival(record):
            for rungs in self._rungs_by_bracket.values():  # what it continues may be in another bracket
                rungs.drop(self._origins.of(record))

    def prune_reason(self, record: TrialRecord) -> str:
        """Return why the trial should be stopped after its last epoch, or an empty string."""
        bracket, n_brackets = self._bracket(record)
        reason = self._rungs(record, bracket).prune_reason(record)
        return f"{reason}; bracket {bracket + 1} of {n_brackets}" if reason else ""

    def _bracket(self, record: TrialRecord) -> tuple[int, int]:
        """Return the trial's bracket, from 0, and how many there are for as many epochs as it may have."""
        assert record.number is not None, f"{record.key} is no search trial"
        n_brackets, factor = 1, self._settings.reduction_factor
        while self._settings.min_epochs * factor**n_brackets <= record.n_epochs:
            n_brackets += 1
        shares = [math.ceil(n_brackets * factor**s / (s + 1)) for s in reversed(range(n_brackets))]
        place = zlib.crc32(f"trial_{record.number}".encode()) % sum(shares)
        bracket = 0
        while place >= shares[bracket]:
            place -= shares[bracket]
            bracket += 1
        return bracket, n_brackets

    def _rungs(self, record: TrialRecord, bracket: int) -> Rungs:
        group = (record.horizon_epochs, bracket)
        if group not in self._rungs_by_bracket:
            factor = self._settings.reduction_factor
            self._rungs_by_bracket[group] = Rungs(
                first_epochs=self._settings.min_epochs * factor**bracket,
                factor=factor,
                rewards=self._rewards,
                origins=self._origins,
            )
        return self._rungs_by_bracket[group]

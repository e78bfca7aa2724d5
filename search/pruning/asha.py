"""Asynchronous successive halving."""

from __future__ import annotations

from search.pruner_settings import AshaSettings
from search.pruning.epoch_rewards import EpochRewards
from search.pruning.rungs import Origins, Rungs
from search.trial import TrialRecord


class AshaPruner:
    """Prunes a trial at a rung (`Rungs`) unless it is among the best of those that have reached it so far.

    The stopping type: a trial that goes on does so at once, and one that is pruned is never taken up again. Verdicts
    are those of `optuna.pruners.SuccessiveHalvingPruner` where curves only improve. Elsewhere they differ on purpose:
    Optuna compares the values at the rung, this rule the best ones by the rung; Optuna keeps what a trial was judged
    by, this rule knows only what is logged; and a value that is not finite is for others to judge.

    Source: Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020 (arXiv 1810.05934).

    Args:
        settings: The rungs.
        rewards: What is compared.
    """

    def __init__(self, settings: AshaSettings, rewards: EpochRewards) -> None:
        self._settings = settings
        self._rewards = rewards
        self._origins = Origins()
        self._rungs_by_horizon: dict[int, Rungs] = {}

    def learn(self, record: TrialRecord) -> None:
        """Take note of how the trial stood at its rungs, whatever its state."""
        self._rungs(record).learn(record)

    def prune_reason(self, record: TrialRecord) -> str:
        """Return why the trial should be stopped after its last epoch, or an empty string."""
        return self._rungs(record).prune_reason(record)

    def _rungs(self, record: TrialRecord) -> Rungs:
        horizon = record.horizon_epochs
        if horizon not in self._rungs_by_horizon:
            self._rungs_by_horizon[horizon] = Rungs(
                first_epochs=self._settings.min_epochs,
                factor=self._settings.reduction_factor,
                rewards=self._rewards,
                origins=self._origins,
            )
        return self._rungs_by_horizon[horizon]

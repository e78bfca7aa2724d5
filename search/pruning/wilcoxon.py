"""The Wilcoxon rule: a trial against the best finished one, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scipy import stats

from search.pruner_settings import WilcoxonSettings
from search.pruning.epoch_rewards import EpochRewards
from search.study_definition import Direction
from search.trial import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leader:
    """The best trial that reached an epoch; `rank` is what makes it so, `values` its curve by epoch."""

    rank: tuple[float, int]
    number: int
    best: float
    values: Mapping[int, float]


class WilcoxonPruner:
    """Prunes a trial that is worse than the best finished one in the epochs that both have had.

    The best is the trial with the best reward among those that ran to their own end, keep all constraints and reached
    this very epoch (the first of equals). The test is Wilcoxon's signed-rank test, one-sided, on the differences by
    epoch. It is repeated after each epoch, and neighbouring epochs resemble each other, so `p_threshold` is no error
    rate. A rule for curves that do not cross: a slow starter which would win in the end is stopped by it.

    The test is that of `optuna.pruners.WilcoxonPruner`. Its safety catch differs on purpose: Optuna spares a trial
    whose mean is at least that of the best trial over all its epochs, which says little about curves of different
    lengths; here a trial is spared if its reward so far is at least that of the best trial.

    Source: Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1 (1945).

    Args:
        settings: How sure to be, and when the rule begins.
        rewards: What is compared.
    """

    def __init__(self, settings: WilcoxonSettings, rewards: EpochRewards) -> None:
        self._settings = settings
        self._rewards = rewards
        self._leaders: dict[tuple[int, int], _Leader] = {}  # by horizon and epoch

    def learn(self, record: TrialRecord) -> None:
        """Let a finished trial be the best at the epochs at which it is."""
        is_peer = record.state.is_fully_trained and self._rewards.is_rival(record)
        values = self._rewards.of(record) if is_peer else {}
        if not values:
            return
        assert record.number is not None, f"{record.key} is no search trial"
        *_, best = self._rewards.so_far(record).values()
        rank = (self._rewards.direction.sign * best, -record.number)
        leader = _Leader(rank=rank, number=record.number, best=best, values=values)
        for epoch in values:
            known = self._leaders.get((record.horizon_epochs, epoch))
            if known is None or leader.rank > known.rank:
                self._leaders[record.horizon_epochs, epoch] = leader

    def prune_reason(self, record: TrialRecord) -> str:
        """Return why the trial should be stopped after its last epoch, or an empty string."""
        epoch = len(record.epochs)
        values = self._rewards.of(record)
        leader = self._leaders.get((record.horizon_epochs, epoch))
        if leader is None or epoch not in values or epoch >= record.n_epochs:
            return ""
        differences = [value - leader.values[each] for each, value in values.items() if each in leader.values]
        if len(differences) < max(self._settings.n_startup_epochs, 2):
            return ""
        if not self._rewards.is_worse(self._rewards.so_far(record)[epoch], than=leader.best):
            return ""
        side: Literal["less", "greater"] = "less" if self._rewards.direction is Direction.MAXIMIZE else "greater"
        # Zeros are split between both signs: without them, equal curves would leave nothing to test.
        p_value = float(stats.wilcoxon(differences, alternative=side, zero_method="zsplit").pvalue)
        if not p_value < self._settings.p_threshold:
            return ""
        n_worse = sum(self._rewards.is_worse(difference, than=0.0) for difference in differences)
        return (
            f"{self._rewards.worse} trial {leader.number}, the best finished one, in {n_worse} of {len(differences)} "
            f"epochs (Wilcoxon p = {p_value:.2g} < {self._settings.p_threshold:g})"
        )

"""The median and percentile rules: a trial beside a share of those that ran to their own end."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence

from search.pruner_settings import MedianSettings, PercentileSettings
from search.pruning.epoch_rewards import EpochRewards
from search.study_definition import Direction
from search.trial import TrialRecord


class PercentilePruner:
    """Prunes a trial whose reward so far is not within the best `percentile` % of what its peers had at that epoch.

    For the median rule that is the median, at 50 %. Peers are trials that ran to their own end and keep all
    constraints; pruned, diverged and failed ones are none. Verdicts are those of `optuna.pruners.PercentilePruner` and
    `optuna.pruners.MedianPruner`, but that a value which is not finite is for others to judge.

    Source: Golovin et al., "Google Vizier: a service for black-box optimization", KDD 2017, median stopping rule.

    Args:
        settings: The share that is good enough, and when the rule begins.
        rewards: What is compared.
    """

    def __init__(self, settings: MedianSettings | PercentileSettings, rewards: EpochRewards) -> None:
        self._settings = settings
        self._rewards = rewards
        self._values: dict[tuple[int, int], list[float]] = {}  # of peers, by horizon and epoch, ascending
        self._counted: dict[str, int] = {}  # epochs that a peer, or what it continues, has among these, by key
        self._peers: set[str] = set()

    def learn(self, record: TrialRecord) -> None:
        """Take a finished trial among the peers; one that cannot be a peer, or is one already, is ignored.

        Of a trial that continues a peer, at once or by way of others, only the epochs beyond that one's are new.
        """
        if record.key in self._peers:
            return
        n_known = self._counted[record.key] = self._counted.get(record.continues, 0)
        if not record.state.is_fully_trained or not self._rewards.is_rival(record):
            return
        self._peers.add(record.key)
        self._counted[record.key] = max(n_known, len(record.epochs))
        for epoch, reward in self._rewards.of(record).items():
            if epoch > n_known:
                insort(self._values.setdefault((record.horizon_epochs, epoch), []), reward)

    def prune_reason(self, record: TrialRecord) -> str:
        """Return why the trial should be stopped after its last epoch, or an empty string."""
        epoch, rewards = len(record.epochs), self._rewards.so_far(record)
        peers = self._values.get((record.horizon_epochs, epoch), ())
        if epoch not in rewards or not self._settings.n_warmup_epochs < epoch < record.n_epochs:
            return ""
        if len(peers) < max(self._settings.n_startup_trials, 1):
            return ""
        percentile = 50.0 if isinstance(self._settings, MedianSettings) else self._settings.percentile
        from_below = 100.0 - percentile if self._rewards.direction is Direction.MAXIMIZE else percentile
        best, threshold = rewards[epoch], quantile(peers, from_below / 100.0)
        if not self._rewards.is_worse(best, than=threshold):
            return ""
        others = f"{len(peers)} finished trials at that epoch"
        is_median = isinstance(self._settings, MedianSettings)
        where = f"the median of {others}" if is_median else f"where the best {percentile:g} % of {others} begin"
        return f"{self._rewards.word} {best:.6g} by epoch {epoch} is {self._rewards.worse} {threshold:.6g}, {where}"


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies, rounded as NumPy does for Optuna's pruners.

    Args:
        ascending: Finite values, at least one.
        share: In ``[0, 1]``; between two values, it is interpolated linearly.
    """
    position = (len(ascending) - 1) * share
    index = math.floor(position)
    low, high = ascending[index], ascending[min(index + 1, len(ascending) - 1)]
    weight = position - index
    return high - (high - low) * (1.0 - weight) if weight >= 0.5 else low + (high - low) * weight

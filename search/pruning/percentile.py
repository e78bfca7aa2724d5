"""The median and percentile rules: a trial beside a share of those that ran to their own end."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence

from search.pruner_settings import MedianSettings, PercentileSettings
from search.pruning.monitored import MonitoredMetric
from search.study_definition import Direction
from search.trial import TrialRecord


class PercentilePruner:
    """Prunes a trial whose best value so far is not within the best `percentile` % of what its peers had at that epoch.

    For the median rule that is the median, at 50 %. Peers are trials that ran to their own end; pruned, diverged and
    failed ones are none. Verdicts are those of `optuna.pruners.PercentilePruner` and `optuna.pruners.MedianPruner`, but
    that a value which is not finite is for others to judge.

    Source: Golovin et al., "Google Vizier: a service for black-box optimization", KDD 2017, median stopping rule.

    Args:
        settings: The share that is good enough, and when the rule begins.
        metric: What is compared.
    """

    def __init__(self, settings: MedianSettings | PercentileSettings, metric: MonitoredMetric) -> None:
        self._settings = settings
        self._metric = metric
        self._values: dict[tuple[int, int], list[float]] = {}  # of peers, by horizon and epoch, ascending
        self._learned: dict[str, int] = {}  # epochs by key

    def learn(self, record: TrialRecord) -> None:
        """Take a finished trial among the peers; one that cannot be a peer, or is one already, is ignored.

        Of a trial that continues a peer, only the epochs beyond that one's are new: the two are one peer.
        """
        if not record.state.is_fully_trained or record.key in self._learned:
            return
        self._learned[record.key] = len(record.epochs)
        n_known = self._learned.get(record.continues, 0)
        for epoch, value in self._metric.finite_values(record).items():
            if epoch > n_known:
                insort(self._values.setdefault((record.horizon_epochs, epoch), []), value)

    def prune_reason(self, record: TrialRecord) -> str:
        """Return why the trial should be stopped after its last epoch, or an empty string."""
        epoch, values = len(record.epochs), self._metric.finite_values(record)
        peers = self._values.get((record.horizon_epochs, epoch), ())
        if epoch not in values or not self._settings.n_warmup_epochs < epoch < record.n_epochs:
            return ""
        if len(peers) < max(self._settings.n_startup_trials, 1):
            return ""
        percentile = 50.0 if isinstance(self._settings, MedianSettings) else self._settings.percentile
        from_below = 100.0 - percentile if self._metric.direction is Direction.MAXIMIZE else percentile
        best, threshold = self._metric.best(values), quantile(peers, from_below / 100.0)
        if not self._metric.is_worse(best, than=threshold):
            return ""
        others = f"{len(peers)} finished trials at that epoch"
        is_median = isinstance(self._settings, MedianSettings)
        where = f"the median of {others}" if is_median else f"where the best {percentile:g} % of {others} begin"
        return f"best {best:.6g} by epoch {epoch} is {self._metric.worse} {threshold:.6g}, {where}"


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

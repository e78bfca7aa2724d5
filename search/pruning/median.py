"""The median rule."""

from __future__ import annotations

from search.pruner_settings import MedianSettings
from search.pruning.finished_peers import FinishedPeers, quantile
from search.pruning.monitored import MonitoredMetric
from search.trial import TrialRecord


class MedianPruner:
    """Prunes a trial whose best value so far is worse than the median of what its peers had *at* that epoch.

    Peers are trials that ran to their own end; pruned, diverged and failed ones are none. Verdicts are those of
    `optuna.pruners.MedianPruner`, but that a value which is not finite is for others to judge.

    Source: Golovin et al., "Google Vizier: a service for black-box optimization", KDD 2017, median stopping rule.

    Args:
        settings: When the rule begins.
        metric: What is compared.
    """

    def __init__(self, settings: MedianSettings, metric: MonitoredMetric) -> None:
        self._settings = settings
        self._metric = metric
        self._peers = FinishedPeers(metric)

    def learn(self, record: TrialRecord) -> None:
        """Take a finished trial among the peers."""
        self._peers.learn(record)

    def prune_reason(self, record: TrialRecord) -> str:
        """Return why the trial should be stopped after its last epoch, or an empty string."""
        comparison = self._peers.beside(
            record,
            n_startup_trials=self._settings.n_startup_trials,
            n_warmup_epochs=self._settings.n_warmup_epochs,
        )
        if comparison is None:
            return ""
        median = quantile(comparison.peers, 0.5)
        if not self._metric.is_worse(comparison.best, than=median):
            return ""
        return (
            f"best {comparison.best:.6g} by epoch {comparison.epoch} is {self._metric.worse} {median:.6g}, the median "
            f"of {len(comparison.peers)} finished trials at that epoch"
        )

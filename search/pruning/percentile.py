"""The percentile rule."""

from __future__ import annotations

from search.pruner_settings import PercentileSettings
from search.pruning.finished_peers import FinishedPeers, quantile
from search.pruning.monitored import MonitoredMetric
from search.study_definition import Direction
from search.trial import TrialRecord


class PercentilePruner:
    """Prunes a trial whose best value so far is not within the best `percentile` % of what its peers had at that epoch.

    The median rule with another share. Peers are trials that ran to their own end; pruned, diverged and failed ones are
    none. Verdicts are those of `optuna.pruners.PercentilePruner`, but that a value which is not finite is for others to
    judge.

    Source: Golovin et al., "Google Vizier: a service for black-box optimization", KDD 2017, median stopping rule.

    Args:
        settings: The share that is good enough, and when the rule begins.
        metric: What is compared.
    """

    def __init__(self, settings: PercentileSettings, metric: MonitoredMetric) -> None:
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
        percentile = self._settings.percentile
        from_below = 100.0 - percentile if self._metric.direction is Direction.MAXIMIZE else percentile
        threshold = quantile(comparison.peers, from_below / 100.0)
        if not self._metric.is_worse(comparison.best, than=threshold):
            return ""
        return (
            f"best {comparison.best:.6g} by epoch {comparison.epoch} is {self._metric.worse} {threshold:.6g}, where "
            f"the best {percentile:g} % of {len(comparison.peers)} finished trials at that epoch begin"
        )

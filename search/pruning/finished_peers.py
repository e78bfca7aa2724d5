"""What trials that ran to their own end had at each epoch, in order, and where a share of them lies."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass

from search.pruning.monitored import MonitoredMetric
from search.trial import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A trial beside its peers.

    Attributes:
        epoch: The trial's last epoch.
        best: The best value that it has reached so far.
        peers: What its peers had at that very epoch, ascending, at least one.
    """

    epoch: int
    best: float
    peers: Sequence[float]


class FinishedPeers:
    """The peers of the quantile rules: trials that ran to their own end; pruned, diverged and failed ones are none.

    Args:
        metric: What is compared.
    """

    def __init__(self, metric: MonitoredMetric) -> None:
        self._metric = metric
        self._values: dict[tuple[int, int], list[float]] = {}  # by horizon and epoch, ascending
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

    def beside(self, record: TrialRecord, *, n_startup_trials: int, n_warmup_epochs: int) -> Comparison | None:
        """Return a running trial beside its peers, or None if it must not be judged.

        Args:
            record: The trial.
            n_startup_trials: Peers that must have reached this very epoch, not only an earlier one.
            n_warmup_epochs: Epochs of each trial in which it is not judged.
        """
        epoch = len(record.epochs)
        if epoch >= record.n_epochs or epoch <= n_warmup_epochs:
            return None
        values = self._metric.finite_values(record)
        peers = self._values.get((record.horizon_epochs, epoch), ())
        if epoch not in values or len(peers) < max(n_startup_trials, 1):
            return None
        return Comparison(epoch=epoch, best=self._metric.best(values), peers=peers)


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

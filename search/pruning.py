"""Pruning: stopping trials that are worse than their peers at the same epoch, by the median rule."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping

from search.errors import StudyDefinitionError, did_you_mean
from search.study_definition import Direction, PrunerSettings
from search.trial import TrialRecord

PRUNER_NAMES: tuple[str, ...] = ("median", "none")


class TrialPruner:
    """Compares a running trial with finished ones of the same schedule horizon, epoch by epoch.

    A trial is pruned if the best value that it has reached is worse than the median of what its peers had *at* that
    epoch. Peers are trials that ran to their own end; pruned, diverged and failed ones are none. The verdict depends on
    the set of peers alone, not on the order in which they were learned.

    Source: Golovin et al., "Google Vizier: a service for black-box optimization", KDD 2017, median stopping rule.

    Raises:
        StudyDefinitionError: If no pruner has the name in `settings`.
    """

    def __init__(self, settings: PrunerSettings, *, monitor: str, direction: Direction) -> None:
        """Start without peers.

        Args:
            settings: The rule's name and when it begins: at least that many finished peers that reached the epoch, and
                never in a trial's first ``n_warmup_epochs`` epochs.
            monitor: The metric that is compared.
            direction: Whether more of it is better.
        """
        if settings.name not in PRUNER_NAMES:
            raise StudyDefinitionError(
                f"a pruner must be one of {', '.join(PRUNER_NAMES)}, but got {settings.name!r}."
                f"{did_you_mean(settings.name, PRUNER_NAMES)}",
                key="pruner",
            )
        self._settings = settings
        self._prunes = settings.name == "median"
        self._monitor = monitor
        self._direction = direction
        self._peers: dict[int, _Peers] = {}
        self._learned: dict[str, int] = {}

    def learn(self, record: TrialRecord) -> None:
        """Take a finished trial among the peers; learning it again changes nothing.

        Of a trial that continues a peer, only the epochs beyond that one's are new: the two are one peer.

        Args:
            record: A search trial's last snapshot; one that cannot be a peer is ignored.
        """
        if not self._prunes or not record.state.is_fully_trained or record.key in self._learned:
            return
        curve = self._finite(record)
        if curve:
            self._learned[record.key] = len(record.epochs)
            n_known = self._learned.get(record.continues, 0)
            self._of(record).add({epoch: value for epoch, value in curve.items() if epoch > n_known})

    def prune_reason(self, record: TrialRecord) -> str:
        """Return why the trial should be stopped after its last epoch, or an empty string if it should go on.

        Args:
            record: A running trial; its last epoch may be its last one anyway, in which case there is nothing to prune.
        """
        epoch = len(record.epochs)
        if not self._prunes or epoch >= record.n_epochs or epoch <= self._settings.n_warmup_epochs:
            return ""
        curve, peers = self._finite(record), self._of(record)
        if epoch not in curve:
            return ""
        # At least so many peers reached this very epoch, not only an earlier one.
        n_min_trials = max(self._settings.n_startup_trials, 1)
        return peers.prune_reason(curve, epoch, direction=self._direction, n_min_trials=n_min_trials)

    def _finite(self, record: TrialRecord) -> dict[int, float]:
        values = enumerate(record.curve(self._monitor), start=1)
        return {epoch: value for epoch, value in values if math.isfinite(value)}

    def _of(self, record: TrialRecord) -> _Peers:
        if record.horizon_epochs not in self._peers:
            self._peers[record.horizon_epochs] = _Peers()
        return self._peers[record.horizon_epochs]


class _Peers:
    """Finished trials of one schedule horizon; a verdict costs the same however many there are."""

    def __init__(self) -> None:
        self._values_by_epoch: dict[int, list[float]] = {}  # ascending

    def add(self, curve: Mapping[int, float]) -> None:
        for epoch, value in curve.items():
            insort(self._values_by_epoch.setdefault(epoch, []), value)

    def prune_reason(self, curve: Mapping[int, float], epoch: int, *, direction: Direction, n_min_trials: int) -> str:
        values = self._values_by_epoch.get(epoch, [])
        if len(values) < n_min_trials:
            return ""
        best = max(curve.values(), key=lambda value: direction.sign * value)
        median = _median(values)
        if not direction.sign * (median - best) > 0.0:
            return ""
        word = "below" if direction is Direction.MAXIMIZE else "above"
        return (
            f"best {best:.6g} by epoch {epoch} is {word} {median:.6g}, the median of {len(values)} "
            f"finished trials at that epoch"
        )


def _median(ascending: list[float]) -> float:
    """Return the middle value, or the middle between the two, rounded as NumPy does for Optuna's median pruner."""
    middle = len(ascending) // 2
    if len(ascending) % 2:
        return ascending[middle]
    low, high = ascending[middle - 1], ascending[middle]
    return high - (high - low) * 0.5

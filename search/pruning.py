"""Pruning: stopping trials that are worse than their peers at the same epoch, by Optuna's median rule."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

import optuna
from optuna.pruners import BasePruner, MedianPruner
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

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
        self._pruner = _median_pruner(settings) if settings.name == "median" else None
        self._monitor = monitor
        self._direction = direction
        self._peers: dict[int, _Peers] = {}
        self._learned: set[str] = set()

    def learn(self, record: TrialRecord) -> None:
        """Take a finished trial among the peers; learning it again changes nothing.

        Args:
            record: A search trial's last snapshot; one that cannot be a peer is ignored.
        """
        if self._pruner is None or not record.state.is_fully_trained or record.key in self._learned:
            return
        curve = self._finite(record)
        if curve:
            self._learned.add(record.key)
            self._of(record).add(curve)

    def prune_reason(self, record: TrialRecord) -> str:
        """Return why the trial should be stopped after its last epoch, or an empty string if it should go on.

        Args:
            record: A running trial; its last epoch may be its last one anyway, in which case there is nothing to prune.
        """
        epoch = len(record.epochs)
        curve = self._finite(record)
        if self._pruner is None or epoch not in curve or epoch >= record.n_epochs:
            return ""
        return self._of(record).prune_reason(self._pruner, curve, epoch, self._direction)

    def _finite(self, record: TrialRecord) -> dict[int, float]:
        values = enumerate(record.curve(self._monitor), start=1)
        return {epoch: value for epoch, value in values if math.isfinite(value)}

    def _of(self, record: TrialRecord) -> _Peers:
        if record.horizon_epochs not in self._peers:
            self._peers[record.horizon_epochs] = _Peers(self._direction)
        return self._peers[record.horizon_epochs]


class _Peers:
    """Finished trials of one schedule horizon, in a private in-memory Optuna study."""

    def __init__(self, direction: Direction) -> None:
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # the private study is nobody's news
        try:
            self._study = optuna.create_study(storage=InMemoryStorage(), direction=direction.value)
        finally:
            optuna.logging.set_verbosity(verbosity)
        self._values_by_epoch: dict[int, list[float]] = {}

    def add(self, curve: Mapping[int, float]) -> None:
        last = curve[max(curve)]
        self._study.add_trial(create_trial(state=OptunaState.COMPLETE, value=last, intermediate_values=dict(curve)))
        for epoch, value in curve.items():
            self._values_by_epoch.setdefault(epoch, []).append(value)

    def prune_reason(self, pruner: BasePruner, curve: Mapping[int, float], epoch: int, direction: Direction) -> str:
        trial = create_trial(state=OptunaState.RUNNING, intermediate_values=dict(curve))
        if not pruner.prune(self._study, trial):
            return ""
        values = self._values_by_epoch[epoch]
        best = max(curve.values(), key=lambda value: direction.sign * value)
        word = "below" if direction is Direction.MAXIMIZE else "above"
        return (
            f"best {best:.6g} by epoch {epoch} is {word} {statistics.median(values):.6g}, the median of {len(values)} "
            f"finished trials at that epoch"
        )


def _median_pruner(settings: PrunerSettings) -> MedianPruner:
    """Return the rule; Optuna prunes from step ``n_warmup_steps`` on, ours is the number of epochs that are spared."""
    return MedianPruner(
        n_startup_trials=settings.n_startup_trials,
        n_warmup_steps=settings.n_warmup_epochs + 1,
        n_min_trials=max(settings.n_startup_trials, 1),
    )

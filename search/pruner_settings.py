"""The pruning rules' settings, one class for each; `search.study_file` knows their defaults, `search.pruning` acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPruning:
    """No trial is pruned."""

    name: ClassVar[str] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class MedianSettings:
    """Stop trials that are worse than the median of their peers.

    Attributes:
        n_startup_trials: Finished trials that reached an epoch before anything is pruned at it, >= 0.
        n_warmup_epochs: Epochs of each trial before it can be pruned, >= 0.
    """

    name: ClassVar[str] = "median"
    n_startup_trials: int
    n_warmup_epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PercentileSettings:
    """Stop trials that are not among the best of their peers.

    Attributes:
        percentile: Share of the peers that is good enough, in percent, in ``[0, 100]``.
        n_startup_trials: Finished trials that reached an epoch before anything is pruned at it, >= 0.
        n_warmup_epochs: Epochs of each trial before it can be pruned, >= 0.
    """

    name: ClassVar[str] = "percentile"
    percentile: float
    n_startup_trials: int
    n_warmup_epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AshaSettings:
    """Asynchronous successive halving.

    Attributes:
        min_epochs: Epochs after which a trial is compared for the first time, >= 1.
        reduction_factor: One in so many goes on, and for so many times the epochs, >= 2.
    """

    name: ClassVar[str] = "asha"
    min_epochs: int
    reduction_factor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperbandSettings:
    """Successive halving in several brackets that begin to compare at different epochs.

    Attributes:
        min_epochs: Epochs after which the trials of the first bracket are compared for the first time, >= 1.
        reduction_factor: One in so many goes on, and for so many times the epochs, >= 2.
    """

    name: ClassVar[str] = "hyperband"
    min_epochs: int
    reduction_factor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WilcoxonSettings:
    """Stop trials that are worse than the best one, epoch by epoch.

    Attributes:
        p_threshold: Chance of so clear a difference between equals below which a trial is stopped, in ``[0, 1]``.
        n_startup_epochs: Epochs that both trials must have, >= 0; fewer than 2 are never enough.
    """

    name: ClassVar[str] = "wilcoxon"
    p_threshold: float
    n_startup_epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSettings:
    """Stop trials whose extrapolated learning curve is unlikely to end above the best one.

    Attributes:
        risk: Probability of becoming the best below which a trial is stopped, in ``(0, 0.5]``; with more than 25 other
            trials it falls with the square of their number.
        min_epochs: Epochs after which a trial is judged for the first time, >= 1; None for a quarter of its schedule.
        n_startup_trials: Other trials that must have a curve, >= 1.
    """

    name: ClassVar[str] = "forecast"
    risk: float
    min_epochs: int | None
    n_startup_trials: int


PrunerSettings = (
    MedianSettings
    | PercentileSettings
    | AshaSettings
    | HyperbandSettings
    | WilcoxonSettings
    | ForecastSettings
    | NoPruning
)

PRUNER_SETTINGS: dict[str, type[PrunerSettings]] = {each.name: each for each in get_args(PrunerSettings)}
"""The one place of the rules' names."""

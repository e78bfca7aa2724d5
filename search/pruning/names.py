"""The pruning rule that settings ask for."""

from __future__ import annotations

from typing import assert_never

from search.pruner_settings import (
    AshaSettings,
    ForecastSettings,
    HyperbandSettings,
    MedianSettings,
    NoPruning,
    PercentileSettings,
    PrunerSettings,
    WilcoxonSettings,
)
from search.pruning.asha import AshaPruner
from search.pruning.hyperband import HyperbandPruner
from search.pruning.monitored import MonitoredMetric
from search.pruning.percentile import PercentilePruner
from search.pruning.pruner import NeverPrunes, Pruner
from search.pruning.wilcoxon import WilcoxonPruner
from search.search_space import SearchSpace
from search.study_definition import Direction


def named_pruner(settings: PrunerSettings, *, monitor: str, direction: Direction, space: SearchSpace) -> Pruner:
    """Return the rule, which knows of no trial yet.

    Args:
        settings: Which rule, and how it is set.
        monitor: The metric that trials are compared by.
        direction: Whether more of it is better.
        space: The study's dimensions.
    """
    metric = MonitoredMetric(name=monitor, direction=direction)
    match settings:
        case NoPruning():
            return NeverPrunes()
        case MedianSettings() | PercentileSettings():
            return PercentilePruner(settings, metric)
        case AshaSettings():
            return AshaPruner(settings, metric)
        case HyperbandSettings():
            return HyperbandPruner(settings, metric)
        case WilcoxonSettings():
            return WilcoxonPruner(settings, metric)
        case ForecastSettings():
            from search.pruning.forecast import ForecastPruner  # only a study that extrapolates pays for it

            return ForecastPruner(settings, metric, space)
        case _:
            assert_never(settings)

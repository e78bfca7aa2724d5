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
from search.pruning.epoch_rewards import EpochRewards
from search.pruning.hyperband import HyperbandPruner
from search.pruning.percentile import PercentilePruner
from search.pruning.pruner import NeverPrunes, Pruner
from search.pruning.wilcoxon import WilcoxonPruner
from search.search_space import SearchSpace
from search.study_definition import Objective


def named_pruner(settings: PrunerSettings, *, objective: Objective, space: SearchSpace) -> Pruner:
    """Return the rule, which knows of no trial yet.

    Args:
        settings: Which rule, and how it is set.
        objective: What trials are compared by: its reward, among those that keep its constraints.
        space: The study's dimensions.
    """
    rewards = EpochRewards(objective=objective)
    match settings:
        case NoPruning():
            return NeverPrunes()
        case MedianSettings() | PercentileSettings():
            return PercentilePruner(settings, rewards)
        case AshaSettings():
            return AshaPruner(settings, rewards)
        case HyperbandSettings():
            return HyperbandPruner(settings, rewards)
        case WilcoxonSettings():
            return WilcoxonPruner(settings, rewards)
        case ForecastSettings():
            from search.pruning.forecast import ForecastPruner  # only a study that extrapolates pays for it

            return ForecastPruner(settings, rewards, space)
        case _:
            assert_never(settings)

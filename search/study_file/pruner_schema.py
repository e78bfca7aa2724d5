"""The study file's `pruner`: one section for each rule, with keys of its own, told by its name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from search.pruner_settings import PRUNER_SETTINGS
from search.study_file.schema_parts import Count, CountOrZero, Section, Shorthand, named

PRUNER_NAMES: tuple[str, ...] = tuple(PRUNER_SETTINGS)


class _PrunerSection(Section):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "median"}]})


class NoneSection(_PrunerSection):
    """No trial is stopped for being worse than others."""

    name: Literal["none"]
    """The rule: nothing is pruned."""


class MedianSection(_PrunerSection):
    """Stop a trial whose reward so far is worse than the median of what finished trials had at the same epoch."""

    name: Literal["median"]
    """The rule: worse than the median of the finished trials at the same epoch."""
    n_startup_trials: CountOrZero = 5
    """Finished trials that must have reached an epoch before anything is pruned at it."""
    n_warmup_epochs: CountOrZero = 1
    """Epochs of each trial before it can be pruned."""


class PercentileSection(_PrunerSection):
    """Stop a trial whose reward so far is not as good as what a share of the finished trials had at the same epoch."""

    name: Literal["percentile"]
    """The rule: not among the best percentile % of the finished trials at the same epoch."""
    percentile: Annotated[float, Field(ge=0.0, le=100.0)] = 25.0
    """Share of the finished trials that is good enough, in percent; 50 is the median rule."""
    n_startup_trials: CountOrZero = 5
    """Finished trials that must have reached an epoch before anything is pruned at it."""
    n_warmup_epochs: CountOrZero = 1
    """Epochs of each trial before it can be pruned."""


class AshaSection(_PrunerSection):
    """Asynchronous successive halving: at min_epochs, and at each reduction_factor times as many, the best go on."""

    name: Literal["asha"]
    """The rule: at each of a few epochs, one in reduction_factor of the trials that got there goes on."""
    min_epochs: Count = 1
    """Epochs after which a trial is compared for the first time."""
    reduction_factor: Annotated[int, Field(ge=2, le=1_000_000)] = 3
    """One in so many goes on, and for so many times the epochs."""


class HyperbandSection(_PrunerSection):
    """Successive halving in brackets that begin to compare at different epochs; a trial's number says which is its."""

    name: Literal["hyperband"]
    """The rule: asha in several brackets, of which each begins to compare later than the one before."""
    min_epochs: Count = 1
    """Epochs after which the trials of the first bracket are compared for the first time."""
    reduction_factor: Annotated[int, Field(ge=2, le=1_000_000)] = 3
    """One in so many goes on, and for so many times the epochs; the more, the fewer brackets."""


class WilcoxonSection(_PrunerSection):
    """Stop a trial that is worse than the best finished one, epoch by epoch, by Wilcoxon's signed-rank test."""

    name: Literal["wilcoxon"]
    """The rule: worse than the best finished trial in the epochs that both have had."""
    p_threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    """Chance of so clear a difference between equals below which a trial is stopped; the more, the sooner."""
    n_startup_epochs: CountOrZero = 2
    """Epochs that both trials must have had; fewer than 2 are never enough."""


class ForecastSection(_PrunerSection):
    """Stop a trial when its extrapolated learning curve is unlikely to end better than the best one so far."""

    name: Literal["forecast"]
    """The rule: too small a chance of becoming the best, by the learning curves of all trials."""
    risk: Annotated[float, Field(gt=0.0, le=0.5)] = 0.1
    """Probability of becoming the best below which a trial is stopped; the more, the sooner. With more than 25 other
    trials it falls with the square of their number."""
    min_epochs: Count | None = None
    """Epochs after which a trial is judged for the first time, then whenever they have grown by half; null for a
    quarter of those that its schedule spans."""
    n_startup_trials: Count = 10
    """Other trials that must have a curve before anything is stopped."""


PrunerSection = (
    MedianSection | PercentileSection | AshaSection | HyperbandSection | WilcoxonSection | ForecastSection | NoneSection
)
Pruner = Annotated[
    Annotated[PrunerSection, Field(discriminator="name")],
    Shorthand(named("name"), PRUNER_NAMES),
]

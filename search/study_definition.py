"""A study as data: what to train, what to search, in which stages, by which rules.

`search.study_file` makes a `StudyDefinition` from YAML or plain Python data and back; everything else only reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from search.constraint import Constraint
from search.errors import StudyDefinitionError
from search.pruner_settings import PrunerSettings
from search.search_space import SearchSpace
from search.warm_start_settings import WarmStart


class Direction(StrEnum):
    """Whether more or less of the monitored metric is better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"

    @property
    def sign(self) -> float:
        """+1.0 if more is better, else -1.0."""
        return 1.0 if self is Direction.MAXIMIZE else -1.0

    @property
    def worst(self) -> float:
        """The infinity that every finite value beats."""
        return -self.sign * math.inf


class ScheduleHorizon(StrEnum):
    """Which epochs the learning-rate schedule spans: the longest stage's (all trials alike) or its own stage's."""

    STUDY = "study"
    STAGE = "stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSpec:
    """A class by import path with its constant init arguments, as Lightning's CLI spells it.

    Attributes:
        class_path: ``package.module.Class``.
        init_args: Plain data (numbers, strings, booleans, None, lists, dicts).
    """

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)


EPOCH_SECONDS = "epoch_seconds"
"""Time of an epoch; of a trial, the median of its epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherObjective:
    """What is optimized besides the reward, measured where the reward is.

    Attributes:
        monitor: A metric of the epochs, ``n_parameters`` or ``epoch_seconds``.
        direction: Whether more of it is better.
    """

    monitor: str
    direction: Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is optimized.

    Attributes:
        monitor: Name of a metric that the module logs in validation.
        direction: Whether more of it is better.
        gap_weight: w >= 0 in ``reward = m -/+ w * max(0, g - t)``.
        gap_tolerance: t >= 0, the gap that costs nothing, in the metric's unit.
        further: Objectives beside the reward; pruning and early stopping know nothing of them.
        constraints: Bounds that a trial must keep to win over one that keeps them.
    """

    monitor: str
    direction: Direction
    gap_weight: float
    gap_tolerance: float
    further: tuple[FurtherObjective, ...] = ()
    constraints: tuple[Constraint, ...] = ()

    @property
    def ranks_by_reward_alone(self) -> bool:
        """Whether there are neither further objectives nor constraints."""
        return not self.further and not self.constraints

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Of the reward and of each further objective."""
        return (self.direction, *(each.direction for each in self.further))

    @property
    def measured_metrics(self) -> tuple[str, ...]:
        """Names of what the further objectives and the constraints are about, each once, in their order."""
        names = (*(each.monitor for each in self.further), *(each.metric for each in self.constraints))
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowRule:
    """How a stage's ranges follow from the finished trials before it (see `search.narrowing`).

    Attributes:
        rule: ``quantile_box``, ``posterior``, ``trust_region`` or ``none``.
        outside_share: Share of the stage's trials that are sampled outside its ranges, within the declared ones, in
            ``[0, 0.5]``; so that a range that was narrowed by mistake can widen again. The first stage has none.
        probability: Of `posterior`: with which its numeric ranges together hold the optimum, in ``[0.5, 0.999]``.
    """

    rule: str
    outside_share: float = 0.0
    probability: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStage:
    """One round of the search.

    Attributes:
        name: Unique in the study.
        n_trials: Trials in this stage, >= 1; None, in the last one only, for as many as the budget allows.
        max_epochs: Epochs that each may train, >= 1.
        sampler: ``random``, ``qmc``, ``tpe``, ``cmaes``, ``gp``, ``staged_gp``, ``policy``, ``mixed`` or ``portfolio``.
        narrow: How this stage's ranges follow from the trials before it; the first stage has the declared ranges.
        promote: How many of its trials continue the best of those that have trained fewer epochs, in ``[0, n_trials]``.
    """

    name: str
    n_trials: int | None
    max_epochs: int
    sampler: str
    narrow: NarrowRule
    promote: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStopping:
    """When a trial's own curve counts as flat.

    Attributes:
        patience_epochs: Epochs without an improvement of more than `min_delta` before it is stopped, >= 1.
        min_delta: Smallest change of the monitored metric that counts, >= 0.
    """

    patience_epochs: int
    min_delta: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a trial runs on.

    Attributes:
        devices_per_trial: Devices of one trial, >= 1.
        trials_per_device: Trials that share a device, >= 1, or ``auto`` to have it follow from their memory.
        hang_timeout_minutes: Time without a finished batch after which a training, or a reading of the test split,
            hangs, >= 0.01, or None for never.
    """

    devices_per_trial: int
    trials_per_device: int | Literal["auto"]
    hang_timeout_minutes: float | None = 30.0

    @property
    def hang_timeout_seconds(self) -> float | None:
        """The same in seconds."""
        return None if self.hang_timeout_minutes is None else 60.0 * self.hang_timeout_minutes

    @property
    def first_trials_per_device(self) -> int:
        """Trials that share a device before anything is known about their memory, >= 1."""
        return 1 if self.trials_per_device == "auto" else self.trials_per_device


class Winner(StrEnum):
    """Which trial of a Pareto front becomes the final model."""

    FIRST_OBJECTIVE = "first_objective"
    COMPROMISE = "compromise"


class Ensemble(StrEnum):
    """Which weights predict the test split together."""

    NONE = "none"
    SEEDS = "seeds"  # the winner's refits, one a seed
    TOP_K = "top_k"  # a refit of each confirmed configuration
    SNAPSHOTS = "snapshots"  # of each refit, its weights at the ends of its learning-rate cycles
    LAST_N = "last_n"  # of each refit, its weights after its last epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishSettings:
    """What follows the last stage.

    Attributes:
        top_k: Configurations to confirm, >= 1.
        n_seeds: Seeds that each may be trained with to be confirmed, and refits of the winner, >= 1.
        ensemble: Whose probabilities are averaged on the test split.
        winner: With several objectives, by what the contenders are chosen and compared.
        register: Whether the refitted model is packaged and registered in MLflow.
        last_n: Of ``last_n``, the epochs whose weights each refit keeps, >= 1; else None.

    Raises:
        StudyDefinitionError: If `last_n` is missing, or there for nothing.
    """

    top_k: int
    n_seeds: int
    ensemble: Ensemble
    winner: Winner = Winner.FIRST_OBJECTIVE
    register: bool = True
    last_n: int | None = None

    def __post_init__(self) -> None:
        if (self.last_n is not None) != (self.ensemble is Ensemble.LAST_N):
            raise StudyDefinitionError(
                f"must be given with `ensemble: last_n`, and only then, but got {self.last_n!r} with `ensemble: "
                f"{self.ensemble.value}`.",
                key="finish.last_n",
            )

    @property
    def averages(self) -> bool:
        """Whether several members' probabilities are averaged; else the first refit is the model."""
        return self.ensemble is not Ensemble.NONE

    @property
    def keeps_snapshots(self) -> bool:
        """Whether each refit keeps further weights beside its final ones."""
        return self.ensemble in (Ensemble.SNAPSHOTS, Ensemble.LAST_N)

    @property
    def n_refits(self) -> int:
        """Refits that the study wants, >= 1."""
        return self.top_k if self.ensemble is Ensemble.TOP_K else self.n_seeds


DEFAULT_FINISH = FinishSettings(top_k=3, n_seeds=3, ensemble=Ensemble.SEEDS)
"""How a search that is ended by hand is finished if its definition does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a study may cost in all its sessions; None sets no bound.

    Attributes:
        hours: Wall time of the study, the finish included, > 0; the time between sessions does not count.
        device_hours: Time that training runs occupy devices, summed over the devices, > 0.
        n_trials: Search trials of all stages together, >= 1.
        epochs: Epochs that all search trials train together, >= 1; those of the finish are not among them.
    """

    hours: float | None = None
    device_hours: float | None = None
    n_trials: int | None = None
    epochs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEarly:
    """When the search ends before all its trials, because further ones cannot pay (see `search.early_ending`).

    Attributes:
        gain_below: A gain of the reward that would not count, > 0, or ``noise``: what seeds alone make of it.
        probability: With which no configuration may gain as much, by the model of all trials, in ``[0.5, 0.999]``.
        patience_trials: Finished trials of the last stage in a row after which it must be so, >= 1.
        min_trials: Trials of all stages that must have finished before the search ends, >= 1; failed ones do not count,
            and a trial and the one that continues it count once.
    """

    gain_below: float | Literal["noise"] = "noise"
    probability: float = 0.9
    patience_trials: int = 5
    min_trials: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyDefinition:
    """A whole study, validated and immutable; `search.study_file` documents the keys.

    Attributes:
        data: The data module, or None if the model brings its own loaders.
        trainer: Arguments for `pytorch_lightning.Trainer` (``precision``, ``gradient_clip_val``, …).
        early_stopping: None for never.
        finish: None to end after the last stage.
        budget: What the study may cost.
        end_early: When it ends although more could be spent, None for never.
        warm_start: What is known before its first trial, None for nothing.
        storage: Optuna storage URL, or None for the journal file in the state directory.
        tracking_uri: MLflow tracking URI, or None for the SQLite file in the state directory.
        checkpoints: fsspec URL of a directory for checkpoints, or None to keep them beside the trials' logs.
        left_out: What the study file left to its defaults: dotted keys, each with the default as plain data.

    Raises:
        StudyDefinitionError: If two stages share a name, or there is none, or one has no number of trials that is not
            the last one under a budget.
    """

    study: str
    seed: int
    model: ClassSpec
    data: ClassSpec | None
    trainer: Mapping[str, Any]
    objective: Objective
    schedule_horizon: ScheduleHorizon
    space: SearchSpace
    stages: tuple[SearchStage, ...]
    pruner: PrunerSettings
    early_stopping: EarlyStopping | None
    resources: Resources
    finish: FinishSettings | None
    budget: Budget = Budget()
    end_early: EndEarly | None = None
    warm_start: WarmStart | None = None
    storage: str | None = None
    tracking_uri: str | None = None
    checkpoints: str | None = None
    left_out: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.stages:
            raise StudyDefinitionError("a study needs at least one stage.", key="stages")
        names = [stage.name for stage in self.stages]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise StudyDefinitionError(
                    f"stage names must be unique, but {name!r} is there twice.", key=f"stages.{index}.name"
                )
        for index, stage in enumerate(self.stages):
            may_be_open = index == len(self.stages) - 1 and self.budget != Budget()
            if stage.n_trials is None and not may_be_open:
                raise StudyDefinitionError(
                    "only the last stage, under a budget, may do without a number of trials.",
                    key=f"stages.{index}.n_trials",
                )

    @property
    def n_trials(self) -> int | None:
        """Trials of all stages together; None for as many as the budget allows."""
        planned = [stage.n_trials for stage in self.stages if stage.n_trials is not None]
        return sum(planned) if len(planned) == len(self.stages) else None

    @property
    def longest_epochs(self) -> int:
        """Epochs of the study's longest trials: a full training, which the runs of the finish have too."""
        return max(stage.max_epochs for stage in self.stages)

    def horizon_epochs(self, stage: SearchStage) -> int:
        """Epochs that the learning-rate schedule of a trial of `stage` spans."""
        if self.schedule_horizon is ScheduleHorizon.STAGE:
            return stage.max_epochs
        return self.longest_epochs

"""Trials made of nothing but a curve, for the pruning rules, and the same for Optuna's."""

from __future__ import annotations

import random
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from search.constraint import Constraint
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
from search.pruning import Pruner, named_pruner
from search.search_space import Dimension, LinearRange, SearchSpace
from search.study_definition import Direction, Objective
from search.trial import EpochRecord, TrialRecord, TrialState

_RANGE = LinearRange(low=0.0, high=1.0)
SPACE = SearchSpace(dimensions=(Dimension(name="rate", range=_RANGE, limits=_RANGE),))

EVERY_RULE: tuple[PrunerSettings, ...] = (
    MedianSettings(n_startup_trials=2, n_warmup_epochs=0),
    PercentileSettings(percentile=40.0, n_startup_trials=2, n_warmup_epochs=0),
    AshaSettings(min_epochs=1, reduction_factor=2),
    HyperbandSettings(min_epochs=1, reduction_factor=2),
    WilcoxonSettings(p_threshold=0.3, n_startup_epochs=2),
    ForecastSettings(risk=0.3, min_epochs=1, n_startup_trials=2),
    NoPruning(),
)
RULES = tuple(each for each in EVERY_RULE if each != NoPruning())


def objective(
    direction: Direction = Direction.MAXIMIZE, *, gap_weight: float = 0.0, constraints: tuple[Constraint, ...] = ()
) -> Objective:
    return Objective(
        monitor="val_acc", direction=direction, gap_weight=gap_weight, gap_tolerance=0.0, constraints=constraints
    )


def record(
    number: int,
    curve: list[float],
    *,
    state: TrialState = TrialState.COMPLETE,
    n_epochs: int = 10,
    horizon: int = 10,
    gaps: Sequence[float] = (),
    continues: str = "",
) -> TrialRecord:
    return TrialRecord(
        key=f"trial-{number:04d}",
        number=number,
        stage="coarse",
        hyperparameters={"rate": 0.618 * number % 1.0},
        seed=0,
        n_epochs=n_epochs,
        horizon_epochs=horizon,
        epochs=tuple(
            EpochRecord(epoch=epoch, metrics={"val_acc": value, **({"gap_acc": gap} if gaps else {})}, time_ms=0)
            for epoch, (value, gap) in enumerate(zip(curve, gaps or [0.0] * len(curve), strict=True), start=1)
        ),
        state=state,
        started_ms=0,
        continues=continues,
    )


def running(
    curve: list[float], *, number: int = 999, n_epochs: int = 10, horizon: int = 10, gaps: Sequence[float] = ()
) -> TrialRecord:
    return record(number, curve, state=TrialState.RUNNING, n_epochs=n_epochs, horizon=horizon, gaps=gaps)


def taught(
    settings: PrunerSettings,
    trials: list[TrialRecord],
    *,
    direction: Direction = Direction.MAXIMIZE,
    by: Objective | None = None,
) -> Pruner:
    pruner = named_pruner(settings, objective=by or objective(direction), space=SPACE)
    for trial in trials:
        pruner.learn(trial)
    return pruner


def mirrored(trial: TrialRecord) -> TrialRecord:
    """Return the trial with all values negated."""
    curve = [-value for value in trial.curve("val_acc")]
    return record(trial.number or 0, curve, state=trial.state, n_epochs=trial.n_epochs, horizon=trial.horizon_epochs)


def random_curve(draw: random.Random, *, at_most: int) -> list[float]:
    n_digits = draw.choice([1, 15])  # with ties and without
    return [round(draw.random(), n_digits) for _ in range(draw.randint(1, at_most))]


def as_optuna(curve: list[float], state: OptunaState = OptunaState.COMPLETE, *, value: float = 0.0) -> FrozenTrial:
    values = dict(enumerate(curve, start=1))
    return create_trial(state=state, value=value if state is OptunaState.COMPLETE else None, intermediate_values=values)


def optuna_study(direction: Direction, pruner: optuna.pruners.BasePruner | None = None) -> optuna.Study:
    return optuna.create_study(
        study_name="trial", direction=direction.value, pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0)
    )

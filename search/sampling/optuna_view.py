"""Optuna's samplers on a private in-memory study whose distributions are the stage's box.

A sampler that is shown ranges which change between trials silently loses part of its model; here every trial of the
view has the same distributions, those of the current box. Floats (and integers with an extra zero) are shown by their
unit coordinate, so that every scale and every share of zeros works with every sampler.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from search.comparable_rewards import Observation
from search.sampling.request import ProposalRequest
from search.search_space import Choices, Dimension, Hyperparameters, IntLogRange, IntRange, Value

_UNIT = FloatDistribution(0.0, 1.0)
_INACTIVE_UNIT = 0.5


def tpe_point(request: ProposalRequest) -> dict[str, Value]:
    """Return what the multivariate tree-structured Parzen estimator proposes, running trials counted as bad.

    Source: Watanabe, "Tree-structured Parzen estimator: understanding its algorithm components and their roles for
    better empirical performance", arXiv 2304.11127.
    """
    sampler = TPESampler(n_startup_trials=1, seed=request.trial_seed)
    trials = [_finished(each.hyperparameters, each.reward, request) for each in request.observations]
    trials += [_running(each, request) for each in request.running]
    return _ask(sampler, trials, request, only_active=True)


def gp_point(request: ProposalRequest) -> dict[str, Value]:
    """Return what Optuna's Gaussian process proposes (log expected improvement; loads torch).

    Inactive dimensions are filled in with the middle of their range, so that conditional ones are in the model too.
    Rewards worse than the median are cut off as far below it as the best one is above: a diverged trial must not
    stretch the scale on which the good ones differ.
    """
    sampler = GPSampler(n_startup_trials=1, seed=request.trial_seed, warn_independent_sampling=False)
    rewards = winsorized(request.observations, sign=request.direction.sign)
    trials = [
        _finished(_filled_in(each.hyperparameters, request), reward, request)
        for each, reward in zip(request.observations, rewards, strict=True)
    ]
    trials += [_running(_filled_in(each, request), request) for each in request.running]
    return _ask(sampler, trials, request, only_active=False)


def winsorized(observations: tuple[Observation, ...], *, sign: float) -> list[float]:
    """Return the rewards, none further on the bad side of the median than the best is on its good side.

    Args:
        observations: At least one.
        sign: +1.0 if more is better, else -1.0.
    """
    signed = [sign * each.reward for each in observations]
    median = statistics.median(signed)
    floor = median - (max(signed) - median)
    return [sign * max(value, floor) for value in signed]


def _ask(
    sampler: BaseSampler, trials: list[FrozenTrial], request: ProposalRequest, *, only_active: bool
) -> dict[str, Value]:
    with _quiet():
        study = optuna.create_study(
            storage=InMemoryStorage(), sampler=sampler, direction=request.direction.value, load_if_exists=False
        )
        study.add_trials(trials)
        trial = study.ask()
        values: dict[str, Value] = {}
        for dimension in request.box:
            active = dimension.is_active(values)
            if active or not only_active:
                suggested = _suggest(trial, dimension)
                if active:
                    values[dimension.name] = suggested
    return values


def _suggest(trial: Trial, dimension: Dimension) -> Value:
    distribution = _distribution(dimension)
    if isinstance(distribution, CategoricalDistribution):
        assert isinstance(dimension.range, Choices)
        value = trial.suggest_categorical(dimension.name, dimension.range.values)
        assert value is not None
        return value
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(dimension.name, distribution.low, distribution.high, log=distribution.log)
    return dimension.from_unit(min(max(trial.suggest_float(dimension.name, 0.0, 1.0), 0.0), 1.0))


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension.range, Choices):
        return CategoricalDistribution(dimension.range.values)
    if isinstance(dimension.range, IntRange | IntLogRange) and dimension.zero_share == 0.0:
        log = isinstance(dimension.range, IntLogRange)
        return IntDistribution(dimension.range.low, dimension.range.high, log=log)
    return _UNIT


def _shown(value: Value, dimension: Dimension) -> Value:
    """Return the value as the view's distribution holds it."""
    return dimension.to_unit(value) if _distribution(dimension) is _UNIT else value


def _filled_in(hyperparameters: Hyperparameters, request: ProposalRequest) -> dict[str, Value]:
    return {
        dimension.name: hyperparameters.get(dimension.name, dimension.from_unit(_INACTIVE_UNIT))
        for dimension in request.box
    }


def _finished(hyperparameters: Hyperparameters, reward: float, request: ProposalRequest) -> FrozenTrial:
    params, distributions = _view(hyperparameters, request)
    return create_trial(state=TrialState.COMPLETE, value=reward, params=params, distributions=distributions)


def _running(hyperparameters: Hyperparameters, request: ProposalRequest) -> FrozenTrial:
    params, distributions = _view(hyperparameters, request)
    return create_trial(state=TrialState.RUNNING, params=params, distributions=distributions)


def _view(
    hyperparameters: Hyperparameters, request: ProposalRequest
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    present = [dimension for dimension in request.box if dimension.name in hyperparameters]
    params = {dimension.name: _shown(hyperparameters[dimension.name], dimension) for dimension in present}
    return params, {dimension.name: _distribution(dimension) for dimension in present}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from announcing the private study, and from advice that only its own users could follow."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)

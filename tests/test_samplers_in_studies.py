"""What holds of `policy`, `staged_gp` and `mixed` in a study of Optuna's."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import Trial, TrialState, create_trial
from optuna_surface import SPACE, loss

from search.samplers.mixed import MixedSampler
from search.samplers.policy import PolicySampler
from search.samplers.staged_gp import StagedGPSampler

OURS = [PolicySampler, StagedGPSampler, MixedSampler]
Sampler = Callable[..., BaseSampler]

pytestmark = [pytest.mark.usefixtures("quiet_optuna"), pytest.mark.parametrize("sampler", OURS)]


def study_of(
    sampler: Sampler,
    n_trials: int,
    *,
    seed: int = 0,
    objective: Callable[[Trial], float] = loss,
    direction: str = "minimize",
) -> Study:
    study = optuna.create_study(sampler=sampler(seed=seed), direction=direction)
    study.optimize(objective, n_trials=n_trials)
    return study


def conditional(trial: Trial) -> float:
    if trial.suggest_categorical("kind", ["short", "long"]) == "short":
        return 0.5 + abs(trial.suggest_float("low", 0.0, 1.0) - 0.5)
    return abs(trial.suggest_float("high", 0.0, 1.0) - 0.8)


@pytest.mark.slow
def test_it_finds_what_random_search_does_not(sampler: Sampler) -> None:
    best = [study_of(sampler, 25, seed=seed).best_value for seed in range(2)]
    random = [study_of(RandomSampler, 25, seed=seed).best_value for seed in range(2)]
    assert np.mean(best) < 0.2 * np.mean(random)


def test_it_maximizes_as_it_minimizes(sampler: Sampler) -> None:
    up = study_of(sampler, 12, objective=lambda trial: -loss(trial), direction="maximize")
    assert [each.params for each in up.trials] == [each.params for each in study_of(sampler, 12).trials]


def test_a_resumed_study_asks_for_what_an_uninterrupted_one_would(sampler: Sampler) -> None:
    whole, resumed = study_of(sampler, 14), study_of(sampler, 0)
    resumed.add_trials(whole.trials[:9])
    resumed.optimize(loss, n_trials=5)
    assert [each.params for each in resumed.trials] == [each.params for each in whole.trials]
    assert study_of(sampler, 8, seed=1).trials[-1].params != whole.trials[7].params


def test_what_fails_is_not_asked_for_again_and_again(sampler: Sampler) -> None:
    def failing(trial: Trial) -> float:
        value = loss(trial)
        return math.nan if trial.params["kind"] == "c" else value

    study = study_of(sampler, 24, objective=failing)
    states = [each.state for each in study.trials]
    assert TrialState.FAIL in states
    assert states[12:].count(TrialState.FAIL) <= 3


def test_of_a_configuration_that_was_tried_again_after_a_failure_only_its_value_counts(sampler: Sampler) -> None:
    known = study_of(sampler, 8).trials
    failed = create_trial(state=TrialState.FAIL, params=known[0].params, distributions=SPACE)
    nexts = []
    for trials in ([failed, *known[1:], known[0]], [*known[1:], known[0]]):
        study = study_of(sampler, 0)
        study.add_trials(trials)
        while len(study.trials) < 10:
            study.add_trial(create_trial(state=TrialState.FAIL))
        nexts.append(study.ask(SPACE).params)
    assert nexts[0] == nexts[1]


def test_failures_before_any_value_are_no_obstacle(sampler: Sampler) -> None:
    study = study_of(sampler, 0)
    study.add_trials([create_trial(state=TrialState.FAIL)] * 3)
    study.optimize(lambda trial: math.nan * loss(trial), n_trials=8)
    study.optimize(loss, n_trials=3)
    assert [each.state for each in study.trials].count(TrialState.COMPLETE) == 3


def test_constraints_are_kept_more_often_than_by_chance(sampler: Sampler) -> None:
    def constrained(trial: Trial) -> float:
        value = loss(trial)
        trial.set_constraint("drop", 0.6 - trial.params["drop"])  # kept by a quarter of all, and the loss is against it
        return value

    study = study_of(sampler, 30, objective=constrained)
    assert sum(each.params["drop"] >= 0.6 for each in study.trials[15:]) >= 10


def test_the_value_counts_and_not_what_was_reached_before(sampler: Sampler) -> None:
    def collapsing(trial: Trial) -> float:
        rate = trial.suggest_float("rate", 0.0, 1.0)
        trial.report(rate, 1)
        trial.report(0.9 * (1.0 - rate), 2)
        return 0.9 * (1.0 - rate)

    study = study_of(sampler, 20, objective=collapsing, direction="maximize")
    assert np.median([each.params["rate"] for each in study.trials[10:]]) < 0.2


def test_several_objectives_are_refused(sampler: Sampler) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler())
    with pytest.raises(ValueError, match="one objective"):
        study.ask(SPACE)


@pytest.mark.parametrize("objective", [loss, conditional])
def test_what_was_just_proposed_counts_as_what_is_stored(sampler: Sampler, objective: Callable[[Trial], float]) -> None:
    """A trial's parameters are stored one by one, after all of them were proposed."""
    proposed, stored = (study_of(sampler, 14, objective=objective) for _ in range(2))
    for _ in range(4):
        waiting, running = proposed.ask(), stored.ask()
        assert waiting.relative_params == running.relative_params
        objective(running)


def test_what_was_proposed_is_forgotten_with_its_trial(sampler: Sampler) -> None:
    nexts = []
    for asks in (False, True):
        study = study_of(sampler, 12)
        failed = study.ask()
        if asks:
            assert failed.relative_params
        study.tell(failed, state=TrialState.FAIL)
        nexts.append(study.ask(SPACE).params)
    assert nexts[0] == nexts[1]


def test_of_another_study_nothing_is_known(sampler: Sampler) -> None:
    shared = sampler(seed=0)
    other = optuna.create_study(sampler=shared)
    other.optimize(loss, n_trials=12)
    assert other.ask().relative_params
    study = optuna.create_study(sampler=shared)
    study.optimize(loss, n_trials=12)
    study.ask()
    alone = study_of(sampler, 12)
    alone.ask()
    assert study.ask(SPACE).params == alone.ask(SPACE).params


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda sampler: pickle.loads(pickle.dumps(sampler))])
def test_a_copy_asks_for_the_same(sampler: Sampler, copied: Callable[[BaseSampler], BaseSampler]) -> None:
    study, other = study_of(sampler, 12), study_of(sampler, 12)
    other.sampler = copied(study.sampler)
    other.sampler.reseed_rng()
    assert other.ask(SPACE).params == study.ask(SPACE).params

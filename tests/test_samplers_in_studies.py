"""What holds of `policy`, `staged_gp` and `mixed` in a study of Optuna's."""

from __future__ import annotations

import copy
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


def test_failed_trials_teach_nothing(sampler: Sampler) -> None:
    known = study_of(sampler, 8).trials
    nexts = []
    for params in (known[0].params, known[1].params):
        study = study_of(sampler, 0)
        study.add_trials([*known, create_trial(state=TrialState.FAIL, params=params, distributions=SPACE)])
        nexts.append(study.ask(SPACE).params)
    assert nexts[0] == nexts[1]


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

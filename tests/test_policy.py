from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.study import Study
from optuna.trial import Trial
from optuna_surface import SPACE, loss

from search.samplers.policy import PolicySampler

pytestmark = pytest.mark.usefixtures("quiet_optuna")


def study_of(n_trials: int, *, objective: Callable[[Trial], float] = loss) -> Study:
    study = optuna.create_study(sampler=PolicySampler(seed=0))
    study.optimize(objective, n_trials=n_trials)
    return study


def test_the_order_in_which_trials_ended_does_not_matter() -> None:
    def trials_told_in(order: list[int]) -> Study:
        study = optuna.create_study(sampler=PolicySampler(seed=0))
        asked = [study.ask(SPACE) for _ in range(8)]
        for index in order:
            study.tell(asked[index], float(index))
        return study

    first, second = trials_told_in(list(range(8))), trials_told_in([3, 7, 0, 1, 6, 5, 2, 4])
    assert first.ask(SPACE).params == second.ask(SPACE).params


@pytest.mark.slow
def test_what_is_asked_for_at_once_is_diverse_and_stays_good() -> None:
    study = study_of(30)
    asked = [study.ask(SPACE).params for _ in range(16)]
    assert len({tuple(each.values()) for each in asked}) == 16
    rates = [math.log10(each["rate"]) for each in asked]
    assert max(rates) - min(rates) > 0.1
    assert np.mean([each["kind"] == "b" for each in asked]) > 0.5


@pytest.mark.slow
def test_pruned_trials_teach() -> None:
    def told(*, prune_kind: str) -> Study:
        def objective(trial: Trial) -> float:
            value = loss(trial)
            if trial.params["kind"] == prune_kind:
                trial.report(9.0, 1)
                raise optuna.TrialPruned
            return value - (trial.params["kind"] != "b") * 1.0

        return study_of(40, objective=objective)

    for kind in ("a", "b"):
        late = told(prune_kind=kind).trials[20:]
        assert np.mean([each.params["kind"] == kind for each in late]) < 1 / 3


def test_a_finite_space_is_searched_without_repetition() -> None:
    def objective(trial: Trial) -> float:
        return trial.suggest_int("x", 0, 3) + trial.suggest_categorical("y", [3, 1, 2])

    study = study_of(12, objective=objective)
    assert len({tuple(each.params.values()) for each in study.trials}) == 12
    study.optimize(objective, n_trials=1)  # when nothing new is left it repeats


def test_conditional_parameters_are_searched_too() -> None:
    def objective(trial: Trial) -> float:
        if trial.suggest_categorical("kind", ["short", "long"]) == "short":
            return 1.0 + abs(trial.suggest_float("low", 0.0, 1.0) - 0.5)
        return abs(trial.suggest_float("high", 0.0, 1.0) - 0.8)

    study = study_of(30, objective=objective)
    late = [each.params for each in study.trials[15:] if each.params["kind"] == "long"]
    assert len(late) > 10
    assert np.median([abs(each["high"] - 0.8) for each in late]) < 0.1


def test_a_single_valued_parameter_is_no_obstacle() -> None:
    study = optuna.create_study(sampler=PolicySampler(seed=0))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_int("one", 1, 1), n_trials=8)
    assert {each.params["one"] for each in study.trials} == {1}


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="n_startup_trials >= 1"):
        PolicySampler(n_startup_trials=0)


@pytest.mark.slow
def test_it_needs_of_zeroin_the_one_thread_only() -> None:
    listing = "import sys, search.samplers.policy; print(*(m for m in sys.modules if m.split('.')[0] == 'search'))"
    command = [sys.executable, "-c", listing]
    modules = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split()
    assert {each for each in modules if not each.startswith("search.samplers")} == {"search", "search.one_thread"}

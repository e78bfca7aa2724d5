from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from optuna_surface import SPACE, loss

from search.samplers.staged_gp import LEAST_DISTANCE, StagedGPSampler

pytestmark = pytest.mark.usefixtures("quiet_optuna")

HORIZON = 27


def study_of(n_trials: int, *, objective: Callable[[Trial], float] = loss) -> Study:
    study = optuna.create_study(sampler=StagedGPSampler(seed=0))
    study.optimize(objective, n_trials=n_trials)
    return study


def copied(trials: list[FrozenTrial], *, max_epochs: int | None = None) -> Study:
    study = optuna.create_study(sampler=StagedGPSampler(seed=0, max_epochs=max_epochs))
    study.add_trials(trials)
    return study


def curve(final: float, rate: float, n_epochs: int) -> dict[int, float]:
    """Return losses that fall to `final`, the higher the rate the faster."""
    return {epoch: final + (2.0 + rate) * (epoch**-0.7 - HORIZON**-0.7) for epoch in range(1, n_epochs + 1)}


def trained(x: float, n_epochs: int, *, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    values = curve((x - 0.7) ** 2, x, n_epochs)
    return create_trial(
        state=state,
        params={"x": x},
        distributions={"x": FloatDistribution(0.0, 1.0)},
        value=values[n_epochs] if state is TrialState.COMPLETE else None,
        intermediate_values=values,
    )


def test_short_trials_tell_where_long_ones_are_good() -> None:
    """A few epochs of many configurations, and two full trainings that are bad."""
    short = [trained(x, 3) for x in np.linspace(0.02, 0.98, 13)]
    full = [trained(x, HORIZON) for x in (0.1, 0.3)]
    asked = [copied([*short, *full], max_epochs=HORIZON).ask({"x": FloatDistribution(0.0, 1.0)})]
    alone = [copied(full, max_epochs=HORIZON).ask({"x": FloatDistribution(0.0, 1.0)})]
    assert abs(asked[0].params["x"] - 0.7) < 0.15
    assert alone[0].params["x"] != asked[0].params["x"]


def test_a_short_trial_is_not_taken_for_a_bad_one() -> None:
    """At the optimum, the only trial had three epochs; what had all of them elsewhere shows better values."""
    known = [trained(x, HORIZON) for x in np.linspace(0.0, 0.5, 6)] + [trained(0.66, 3)]
    assert min(each.value or 0.0 for each in known[:6]) < (known[6].value or 0.0)
    assert copied(known, max_epochs=HORIZON).ask({"x": FloatDistribution(0.0, 1.0)}).params["x"] > 0.55


def test_trials_without_any_of_the_parameters_tell_nothing() -> None:
    known = [trained(x, 3) for x in np.linspace(0.02, 0.98, 13)]
    asked = []
    for state, value in ((TrialState.COMPLETE, -100.0), (TrialState.COMPLETE, 100.0), (TrialState.FAIL, None)):
        other = create_trial(
            state=state, params={"y": 0.5}, distributions={"y": FloatDistribution(0.0, 1.0)}, value=value
        )
        study = copied([*known, other], max_epochs=HORIZON)
        study.ask()
        space = {"x": FloatDistribution(0.0, 1.0)}
        asked.append(study.sampler.sample_relative(study, study.get_trials(deepcopy=False)[-1], space))
    assert asked[0] == asked[1] == asked[2]


def test_some_suggestions_are_drawn_from_all_there_is_but_none_where_a_region_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("search.samplers.staged_gp.EXPLORED_SHARE", 1.0)
    known = [trained(x, 3) for x in np.linspace(0.02, 0.98, 13)]

    def asked(half_width: float | None) -> list[float]:
        found = []
        for seed in range(8):
            study = optuna.create_study(sampler=StagedGPSampler(seed=seed, half_width=half_width))
            study.add_trials(known)
            found.append(study.ask({"x": FloatDistribution(0.0, 1.0)}).params["x"])
        return found

    assert max(asked(None)) - min(asked(None)) > 0.5
    assert max(asked(0.05)) - min(asked(0.05)) <= 0.1


def test_steps_may_be_counted_from_zero() -> None:
    trials = [trained(x, n) for x, n in ((0.1, 3), (0.5, 9), (0.9, 27), (0.3, 9), (0.6, 3), (0.2, 27))]
    from_zero = [
        create_trial(
            params=each.params,
            distributions=each.distributions,
            value=each.value,
            intermediate_values={step - 1: value for step, value in each.intermediate_values.items()},
        )
        for each in trials
    ]
    asked = [copied(each, max_epochs=HORIZON).ask({"x": FloatDistribution(0.0, 1.0)}) for each in (trials, from_zero)]
    assert asked[0].params == asked[1].params


def test_a_value_without_reports_is_that_of_a_full_training() -> None:
    reported = [trained(x / 12.0, HORIZON) for x in range(12)]
    silent = [create_trial(params=each.params, distributions=each.distributions, value=each.value) for each in reported]
    assert (
        copied(silent).ask({"x": FloatDistribution(0.0, 1.0)}).params
        == copied(silent, max_epochs=HORIZON).ask({"x": FloatDistribution(0.0, 1.0)}).params
    )


def test_pruned_trials_teach_as_far_as_they_went() -> None:
    pruned = [trained(x, 9, state=TrialState.PRUNED) for x in np.linspace(0.02, 0.98, 13)]
    asked = copied([*pruned, trained(0.1, HORIZON)], max_epochs=HORIZON).ask({"x": FloatDistribution(0.0, 1.0)})
    assert abs(asked.params["x"] - 0.7) < 0.15


def test_values_that_are_no_numbers_count_as_bad() -> None:
    def objective(trial: Trial) -> float:
        value = loss(trial)
        return math.inf if trial.params["rate"] > 1e-2 else value

    study = study_of(25, objective=objective)
    late = [each.params["rate"] for each in study.trials[15:]]
    assert np.mean([rate > 1e-2 for rate in late]) < 0.2


def least_apart(asked: Sequence[Mapping[str, Any]]) -> float:
    units = np.array(
        [[(math.log10(a["rate"]) + 6) / 6, (a["depth"] - 0.5) / 8, a["drop"] / 0.8, ord(a["kind"])] for a in asked]
    )
    apart = np.abs(units[:, None] - units[None]).max(axis=2)[np.triu_indices(len(asked), k=1)]
    return float(apart.min())


def test_what_is_asked_for_at_once_is_diverse() -> None:
    study = study_of(20)
    assert least_apart([study.ask(SPACE).params for _ in range(12)]) > LEAST_DISTANCE


def test_what_threads_ask_for_at_once_is_diverse() -> None:
    study = study_of(20)
    trials, at_once = [study.ask() for _ in range(6)], Barrier(6)

    def asked(trial: Trial) -> dict[str, Any]:
        at_once.wait(timeout=60.0)
        return trial.relative_params

    with ThreadPoolExecutor(max_workers=6) as threads:
        assert least_apart(list(threads.map(asked, trials))) > LEAST_DISTANCE


def test_conditional_parameters_are_searched_too() -> None:
    def objective(trial: Trial) -> float:
        if trial.suggest_categorical("kind", ["short", "long"]) == "short":
            return 1.0 + abs(trial.suggest_float("low", 0.0, 1.0) - 0.5)
        return abs(trial.suggest_float("high", 0.0, 1.0) - 0.8)

    study = study_of(25, objective=objective)
    assert study.best_params["kind"] == "long"
    assert abs(study.best_params["high"] - 0.8) < 0.05


def four_choices(trial: Trial) -> float:
    kind, size = trial.suggest_categorical("kind", ["a", "b", "c", "d"]), trial.suggest_int("size", 1, 3)
    return (kind != "b") + (size - 2) ** 2 / 2.0 + trial.suggest_float("share", 0.0, 0.5, step=0.5)


def test_a_finite_space_is_searched_without_repetition() -> None:
    study = study_of(24, objective=four_choices)
    assert len({tuple(each.params.values()) for each in study.trials}) == 24
    study.optimize(four_choices, n_trials=1)  # when nothing new is left it repeats


@pytest.mark.parametrize("first", ["explored", "start-up"])
def test_what_is_drawn_from_a_finite_space_is_new_too(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.samplers.staged_gp.EXPLORED_SHARE", 1.0)
    study = optuna.create_study(sampler=StagedGPSampler(seed=0, n_startup_trials=24 if first == "start-up" else 1))
    study.optimize(four_choices, n_trials=24)
    assert len({tuple(each.params.values()) for each in study.trials}) == 24


def test_of_choices_with_parameters_of_their_own_none_is_repeated() -> None:
    def objective(trial: Trial) -> float:
        if trial.suggest_categorical("kind", ["short", "long"]) == "short":
            return 1.0 + trial.suggest_int("low", 1, 5)
        return abs(trial.suggest_int("high", 1, 8) - 6)

    study = study_of(13, objective=objective)
    assert len({tuple(each.params.items()) for each in study.trials}) == 13


@pytest.mark.parametrize(("n_values", "n_known"), [(20, 396), (47, 2205)])
@pytest.mark.parametrize("half_width", [None, 0.1])
def test_in_a_large_finite_space_what_is_left_is_found(n_values: int, n_known: int, half_width: float | None) -> None:
    """However many there are to look at, and of more trials than the model is shown."""
    space = {"i": IntDistribution(1, n_values), "j": IntDistribution(1, n_values)}
    points = [(i, j) for i in range(1, n_values + 1) for j in range(1, n_values + 1)]
    known = [points[index] for index in np.random.default_rng(0).permutation(len(points))[:n_known]]
    study = optuna.create_study(sampler=StagedGPSampler(seed=0, half_width=half_width))
    study.add_trials(
        [
            create_trial(params={"i": i, "j": j}, distributions=space, value=(i - 7) ** 2 + (j - 9) ** 2)
            for i, j in known
        ]
    )
    assert (*study.ask(space).params.values(),) not in known


def test_a_finite_space_is_asked_for_even_when_nothing_new_is_left() -> None:
    study = study_of(10, objective=lambda trial: trial.suggest_int("x", 0, 2) + trial.suggest_int("one", 1, 1))
    assert study.best_params == {"x": 0, "one": 1}


def test_many_trials_are_no_obstacle() -> None:
    rng = np.random.default_rng(0)
    study = copied([trained(x, int(n)) for x, n in zip(rng.random(600), rng.choice([3, 9, 27], 600), strict=True)])
    assert abs(study.ask({"x": FloatDistribution(0.0, 1.0)}).params["x"] - 0.7) < 0.2


@pytest.mark.parametrize("setting", ["max_epochs", "n_startup_trials"])
def test_bad_settings_are_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=f"{setting} >= 1"):
        StagedGPSampler(**{setting: 0})


@pytest.mark.slow
def test_it_needs_of_zeroin_the_model_of_curves_and_the_one_thread_only() -> None:
    listing = "import sys, search.samplers.staged_gp; print(*(m for m in sys.modules if m.split('.')[0] == 'search'))"
    command = [sys.executable, "-c", listing]
    modules = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split()
    others = {each for each in modules if not each.startswith(("search.samplers", "search.surrogate"))}
    assert others == {"search", "search.one_thread"}

"""The sampler `portfolio` in studies of Optuna's, and `staged_gp` near the best trial."""

from __future__ import annotations

import json
import math
from collections import Counter

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import Trial, TrialState, create_trial

from search.samplers.portfolio import ACTIONS, PortfolioSampler, refined_half_width
from search.samplers.staged_gp import StagedGPSampler

pytestmark = pytest.mark.usefixtures("quiet_optuna")


def loss(trial: Trial) -> float:
    """Least, 0, at a rate of 1e-3 and kind b, which has a depth."""
    rate = math.log10(trial.suggest_float("rate", 1e-6, 1.0, log=True)) + 3.0
    if trial.suggest_categorical("kind", ["a", "b"]) == "b":
        return rate**2 / 4.0 + (trial.suggest_int("depth", 1, 8) - 8) ** 2 / 20.0
    return rate**2 / 4.0 + 1.0


def study_of(n_trials: int, *, seed: int = 0) -> Study:
    study = optuna.create_study(sampler=PortfolioSampler(seed=seed))
    study.optimize(loss, n_trials=n_trials)
    return study


def choices(study: Study) -> dict[int, str]:
    return noted(study, "portfolio:")


def noted(study: Study, prefix: str) -> dict[int, str]:
    """Return what the sampler has noted under names that begin so, by the trial's number."""
    return {int(name.removeprefix(prefix)): text for name, text in study.user_attrs.items() if name.startswith(prefix)}


def test_what_one_member_has_just_proposed_the_others_know() -> None:
    proposed, stored = study_of(20), study_of(20)
    for _ in range(6):
        waiting, running = proposed.ask(), stored.ask()
        assert waiting.relative_params == running.relative_params
        loss(running)
    last = list(choices(stored).values())[-6:]
    assert len(set(last) & {"exploit", "refine", "policy"}) > 1


@pytest.mark.slow
def test_choices_are_kept_in_the_study_and_equal_seeds_make_the_same() -> None:
    study, again = study_of(25), study_of(25)
    assert sorted(choices(study)) == list(range(5, 25)), "there is a choice from the sixth trial on"
    assert set(choices(study).values()) <= set(ACTIONS)
    assert len(set(choices(study).values())) >= 3
    assert choices(study) == choices(again)
    assert [each.params for each in study.trials] == [each.params for each in again.trials]
    assert study.best_value < 0.1
    beliefs = {number: json.loads(text) for number, text in noted(study, "portfolio_beliefs:").items()}
    assert list(beliefs) == list(choices(study))
    assert list(beliefs[5]) == list(ACTIONS), "those that were never taken too"
    for number, action in choices(study).items():
        draws = {name: each["draw"] for name, each in beliefs[number].items()}
        assert draws[action] is None or draws[action] == max(draws.values())


def test_what_is_noted_of_a_choice_is_what_was_believed_before_it() -> None:
    study = study_of(12)
    assert isinstance(study.sampler, PortfolioSampler)
    believed = study.sampler.beliefs(study)
    study.ask({"rate": FloatDistribution(1e-6, 1.0, log=True)})
    said = json.loads(noted(study, "portfolio_beliefs:")[12])
    assert {name: each["mean"] for name, each in said.items()} == pytest.approx(
        {name: 100.0 * each.mean for name, each in believed.items()}
    )


def test_beliefs_follow_what_improved_and_what_it_cost() -> None:
    study = optuna.create_study(sampler=PortfolioSampler(seed=0), direction="maximize")
    values = [0.0, 1.0, 0.5, 0.5, 0.5, 2.0, 0.1, 3.0, 0.2]
    for number, value in enumerate(values):
        trial = create_trial(
            value=value,
            params={"x": number / 10.0},
            distributions={"x": FloatDistribution(0.0, 1.0)},
            intermediate_values=dict.fromkeys(range(10), value),
        )
        study.add_trial(trial)
        if number >= 5:
            study.set_user_attr(f"portfolio:{number}", "tpe" if value >= 1.0 else "policy")
    assert isinstance(study.sampler, PortfolioSampler)
    believed = study.sampler.beliefs(study)
    assert tuple(believed) == ACTIONS
    assert believed["tpe"].mean > believed["exploit"].mean > believed["policy"].mean


def test_a_pruned_trial_costs_its_epochs_and_has_improved_nothing() -> None:
    sampler = PortfolioSampler(seed=0)

    def believed(state: TrialState) -> float:
        study = optuna.create_study(direction="maximize")
        for number, value in enumerate([0.0, 1.0, 0.5, 5.0]):
            ended = state if number == 3 else TrialState.COMPLETE
            study.add_trial(
                create_trial(
                    state=ended,
                    value=value,
                    params={"x": 0.5},
                    distributions={"x": FloatDistribution(0.0, 1.0)},
                    intermediate_values={1: value},
                )
            )
        study.set_user_attr("portfolio:2", "policy")
        study.set_user_attr("portfolio:3", "tpe")
        found = sampler.beliefs(study)
        return found["tpe"].mean / found["exploit"].mean

    assert believed(TrialState.PRUNED) < 0.8
    assert believed(TrialState.COMPLETE) > 1.2


@pytest.mark.slow
def test_among_choices_alone_nothing_is_near_to_anything() -> None:
    study = optuna.create_study(sampler=PortfolioSampler(seed=0))
    names = [f"choice{n}" for n in range(3)]
    study.optimize(lambda trial: sum(trial.suggest_categorical(each, [0, 1, 2]) for each in names), n_trials=30)
    assert "refine" not in choices(study).values()
    assert study.best_value == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_near_the_best_trial_its_choices_stay_and_numbers_move_a_little(seed: int) -> None:
    study = optuna.create_study()
    space = {"x": FloatDistribution(0.0, 10.0), "kind": CategoricalDistribution(["a", "b", "c"])}
    for number in range(12):
        params = {"x": number * 10.0 / 11.0, "kind": "abc"[number % 3]}
        study.add_trial(create_trial(value=(params["x"] - 7.0) ** 2, params=params, distributions=space))
    best = study.best_params
    study.sampler = StagedGPSampler(seed=seed, half_width=0.1)
    points = []
    for _ in range(6):
        trial = study.ask(space)
        points.append(trial.params)
    assert {each["kind"] for each in points} == {best["kind"]}
    assert max(abs(each["x"] - best["x"]) for each in points) <= 1.0 + 1e-9
    assert len({each["x"] for each in points}) == len(points)


def test_where_all_that_is_near_is_known_something_else_is_asked_for() -> None:
    space = {"depth": IntDistribution(1, 4), "width": IntDistribution(1, 4)}
    known = [{"depth": depth, "width": 5 - depth} for depth in range(1, 5)]
    for seed in range(12):
        study = optuna.create_study(sampler=StagedGPSampler(seed=seed, n_startup_trials=1, half_width=0.05))
        for params in known:
            study.add_trial(create_trial(value=abs(params["depth"] - 2.0), params=params, distributions=space))
        assert study.ask(space).params not in known


def test_tpe_learns_from_trials_that_lack_a_parameter_too() -> None:
    study, best_value = optuna.create_study(), math.inf
    for number in range(60):
        kind, rate, rest = "ab"[number % 2], number / 59.0, (7 * number % 60) / 59.0
        name = "low" if kind == "a" else "high"
        space = {
            "kind": CategoricalDistribution(["a", "b"]),
            "rate": FloatDistribution(0.0, 1.0),
            name: FloatDistribution(0.0, 1.0),
        }
        params = {"kind": kind, "rate": rate, name: rest}
        value = abs(rate - 0.9) + abs(rest - 0.1)
        study.add_trial(create_trial(value=value, params=params, distributions=space))
        others = [each for each in ACTIONS if each != "tpe"]
        study.set_user_attr(f"portfolio:{number}", "tpe" if value < best_value else others[number % len(others)])
        best_value = min(value, best_value)
    study.sampler = PortfolioSampler(seed=0)
    asked = []
    for _ in range(24):
        trial = study.ask()
        drawn = {each: trial.suggest_float(each, 0.0, 1.0) for each in ("rate", "low", "high")}
        if study.user_attrs[f"portfolio:{trial.number}"] == "tpe":
            asked.append(drawn)
    assert len(asked) >= 10
    for name, best in (("rate", 0.9), ("low", 0.1), ("high", 0.1)):
        away = sorted(abs(each[name] - best) for each in asked)
        assert away[len(away) // 2] < 0.2, "of uniform draws half are farther than 0.4"


def test_how_near_differs_from_trial_to_trial() -> None:
    widths = [refined_half_width(seed) for seed in range(50)]
    assert 0.05 <= min(widths) < 0.07
    assert 0.15 < max(widths) <= 0.2


@pytest.mark.parametrize("half_width", [0.0, -0.1, math.nan])
def test_a_region_without_width_is_refused(half_width: float) -> None:
    with pytest.raises(ValueError, match="half_width > 0"):
        StagedGPSampler(half_width=half_width)


@pytest.mark.parametrize("given", [{"max_epochs": 0}, {"n_startup_trials": 0}])
def test_settings_below_one_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r">= 1"):
        PortfolioSampler(**given)  # type: ignore[arg-type]


def test_several_objectives_are_refused() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=PortfolioSampler(seed=0))
    with pytest.raises(ValueError, match="one objective"):
        study.ask({"x": FloatDistribution(0.0, 1.0)})


def test_workers_that_ask_at_once_differ_in_what_they_do() -> None:
    study = optuna.create_study(sampler=PortfolioSampler(seed=0))
    for number in range(8):
        params = {"x": number / 7.0}
        distributions = {"x": FloatDistribution(0.0, 1.0)}
        study.add_trial(create_trial(value=(params["x"] - 0.4) ** 2, params=params, distributions=distributions))
    points = [study.ask({"x": FloatDistribution(0.0, 1.0)}).params["x"] for _ in range(8)]
    assert len(Counter(choices(study).values())) >= 2
    assert len(set(points)) == 8

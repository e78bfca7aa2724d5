from __future__ import annotations

import math

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.samplers.activity import Activity
from search.samplers.coordinates import Array, UnitCoordinates
from search.samplers.critic import MOST_CENTRES, Critic, Features, Kernel, excerpt, learned_critic
from search.samplers.observed_rewards import standardized_rewards

MAXIMIZE, MINIMIZE = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
NONE_RUNNING = Features(values=np.empty((0, 2)), parameter=np.array([0, 1]))


def points(units: Array) -> Features:
    return Features(values=units, parameter=np.arange(units.shape[1]))


def hill(units: Array) -> Array:
    return -((units[:, 0] - 0.3) ** 2) * 8.0


def learned(units: Array, rewards: Array, running: Features = NONE_RUNNING) -> Critic:
    return learned_critic(points(units), rewards, n_parameters=2, running=running)


def test_with_all_trials_as_centres_the_regression_is_exact() -> None:
    rng = np.random.default_rng(0)
    units, rewards, asked = rng.random((30, 2)), rng.normal(size=30), rng.random((7, 2))
    kernel = Kernel(length_scales=np.array([0.4, 0.8]), noise=0.01)
    expected, deviation = Critic(points(units), rewards, kernel=kernel, centres=np.arange(30)).expected(points(asked))
    covariance = kernel.between(points(units), points(units)) + 0.01 * np.eye(30)
    across = kernel.between(points(asked), points(units))
    inverse = np.linalg.inv(covariance)
    mean = inverse.sum(0) @ rewards / inverse.sum()
    variance = (rewards - mean) @ inverse @ (rewards - mean) / 30
    assert expected == pytest.approx(mean + across @ inverse @ (rewards - mean), abs=1e-3)
    assert deviation**2 == pytest.approx(variance * (1.0 - np.sum((across @ inverse) * across, axis=1)), abs=1e-3)


def test_it_learns_what_matters_and_knows_where_it_knows_little() -> None:
    units = np.random.default_rng(1).random((40, 2)) * [1.0, 0.5]
    critic = learned(units, hill(units))
    asked = np.array([[0.3, 0.25], [0.9, 0.25], [0.3, 0.9]])
    expected, deviation = critic.expected(points(asked))
    assert expected[0] > expected[1] + 2.0
    assert expected[2] == pytest.approx(expected[0], abs=0.3)  # the other parameter does nothing
    seen = critic.expected(points(units))[1]
    assert deviation[2] > 2.0 * np.median(seen)


def test_of_many_trials_all_count_through_few_centres() -> None:
    rng = np.random.default_rng(2)
    units = rng.random((2000, 2))
    noisy = hill(units) + rng.normal(size=2000)
    asked = rng.random((50, 2))
    error = learned(units, noisy).expected(points(asked))[0] - hill(asked)
    best = excerpt(noisy, MOST_CENTRES)
    assert len(best) == MOST_CENTRES
    alone = learned(units[best], noisy[best]).expected(points(asked))[0] - hill(asked)
    assert np.sqrt(np.mean(error**2)) < 0.3
    assert np.sqrt(np.mean(error**2)) < 0.5 * np.sqrt(np.mean(alone**2))


def test_trials_under_way_leave_less_to_learn_there_and_change_no_expectation_at_them() -> None:
    units = np.random.default_rng(3).random((20, 2)) * 0.5
    place = points(np.array([[0.9, 0.9]]))
    alone, beside = learned(units, hill(units)), learned(units, hill(units), running=place)
    assert beside.expected(place)[1] < 0.5 * alone.expected(place)[1]
    assert beside.expected(place)[0] == pytest.approx(alone.expected(place)[0], abs=0.05)


def test_equal_rewards_are_no_obstacle() -> None:
    units = np.random.default_rng(4).random((10, 2))
    expected, deviation = learned(units, np.zeros(10)).expected(points(units))
    assert np.abs(expected).max() < 1e-6
    assert np.isfinite(deviation).all()


def trial(value: float | None, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    return create_trial(value=value, state=state)


def test_rewards_do_not_depend_on_unit_and_direction() -> None:
    values = [0.1, 0.5, 0.9, 0.7]
    rewards = standardized_rewards([trial(each) for each in values], direction=MAXIMIZE)
    assert rewards.mean() == pytest.approx(0.0)
    assert rewards.std() == pytest.approx(1.0)
    mirrored = standardized_rewards([trial(3.0 - 100.0 * each) for each in values], direction=MINIMIZE)
    assert mirrored == pytest.approx(rewards)
    assert standardized_rewards([trial(2.0), trial(2.0)], direction=MAXIMIZE).tolist() == [0.0, 0.0]
    assert standardized_rewards([], direction=MAXIMIZE).tolist() == []


@pytest.mark.parametrize("diverged", [-1e30, -math.inf])
def test_a_diverged_trial_does_not_stretch_the_scale(diverged: float) -> None:
    good = [0.80, 0.85, 0.90]
    rewards = standardized_rewards([trial(each) for each in [*good, diverged]], direction=MAXIMIZE)
    assert rewards[2] - rewards[0] > 1.0
    assert rewards[3] == rewards.min()
    assert np.isfinite(standardized_rewards([trial(math.inf), trial(diverged)], direction=MAXIMIZE)).all()


def test_a_pruned_trial_is_no_better_than_the_middle_of_its_complete_peers() -> None:
    trials = [trial(each) for each in (0.5, 0.6, 0.9)]
    trials += [trial(each, TrialState.PRUNED) for each in (0.99, 0.4, None)]
    rewards = standardized_rewards(trials, direction=MAXIMIZE)
    assert rewards[3] == pytest.approx(rewards[1])
    assert rewards[4] < rewards[0]
    assert rewards[5] == rewards.min()
    alone = standardized_rewards([trial(each, TrialState.PRUNED) for each in (0.1, 0.2, None)], direction=MAXIMIZE)
    assert alone[1] > alone[0] >= alone[2]


CONDITIONAL: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution(["plain", "deep", "wide"]),
    "depth": IntDistribution(1, 3),
    "last": FloatDistribution(0.0, 1.0),
    "width": FloatDistribution(0.0, 1.0),
}


def conditional_points() -> list[dict[str, object]]:
    """The depth of deep ones only, the last layer's parameter from depth 2 on, a width of wide ones only."""
    found: list[dict[str, object]] = [{"kind": "plain"}, {"kind": "wide", "width": 0.3}, {"kind": "deep", "depth": 1}]
    return [*found, *({"kind": "deep", "depth": depth, "last": 0.5} for depth in (2, 3))]


def test_conditions_are_learned_one_from_the_other() -> None:
    coordinates = UnitCoordinates.of(CONDITIONAL)
    units, known = coordinates.encode(conditional_points())
    activity = Activity.learned(coordinates, units, known)
    everything = coordinates.snap(np.full((5, 4), 0.4))
    everything[:, 0] = units[:, 0]
    everything[2:, 1] = units[2:, 1]
    assert (~np.isnan(activity.masked(everything)) == known).all()


def test_what_no_other_parameter_explains_counts_as_active() -> None:
    coordinates = UnitCoordinates.of({"kind": CategoricalDistribution(["a", "b"]), "x": FloatDistribution(0.0, 1.0)})
    units, known = coordinates.encode([{"kind": "a"}, {"kind": "a", "x": 0.5}, {"kind": "b"}])
    everything = coordinates.snap(np.full((3, 2), 0.4))
    assert not np.isnan(Activity.learned(coordinates, units, known).masked(everything)).any()

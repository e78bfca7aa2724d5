from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.elimination import survivors
from search.study_definition import Direction

NAN, INF = math.nan, math.inf
UP = Direction.MAXIMIZE


def test_a_configuration_that_is_clearly_worse_goes_and_a_close_one_stays() -> None:
    rewards = {3: [0.90, 0.91, 0.905], 5: [0.902, 0.908, 0.904], 8: [0.70, 0.71, 0.69]}
    assert survivors(rewards, direction=UP, risk=0.1) == (3, 5)


def test_one_run_each_says_nothing_but_ranks() -> None:
    assert survivors({0: [0.1], 1: [0.9]}, direction=UP, risk=0.1) == (1, 0)
    assert survivors({0: [], 1: []}, direction=UP, risk=0.1) == (0, 1)
    assert survivors({}, direction=UP, risk=0.1) == ()
    assert survivors({4: [0.5, 0.6]}, direction=UP, risk=0.1) == (4,)


def test_equal_runs_are_no_proof_that_there_is_no_noise() -> None:
    assert survivors({0: [0.9841, 0.9841], 1: [0.9873, 0.9873]}, direction=UP, risk=0.1) == (1, 0)
    assert survivors({0: [0.1, 0.1], 1: [0.9873, 0.9841]}, direction=UP, risk=0.1) == (1,)


def test_those_dropped_before_stay_out() -> None:
    rewards = {0: [0.5, 0.6, 0.5], 1: [0.99, 0.99], 2: [0.5, 0.6, 0.6]}
    assert set(survivors(rewards, direction=UP, risk=0.1)) == {0, 2}


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_diverged_run_drops_its_configuration_unless_all_have_one(bad: float) -> None:
    assert survivors({0: [0.9, bad], 1: [0.1, 0.2]}, direction=UP, risk=0.1) == (1,)
    assert set(survivors({0: [0.9, bad], 1: [bad, 0.2]}, direction=UP, risk=0.1)) == {0, 1}


rewards_by_key = st.integers(2, 4).flatmap(
    lambda n_runs: st.dictionaries(
        st.integers(0, 9), st.lists(st.integers(0, 100), min_size=n_runs, max_size=n_runs), min_size=1, max_size=5
    )
)


@given(rewards_by_key)
def test_the_best_mean_stays_and_comes_first(rewards: dict[int, list[int]]) -> None:
    kept = survivors(rewards, direction=UP, risk=0.1)
    means = {key: sum(runs) / len(runs) for key, runs in rewards.items()}
    assert means[kept[0]] == max(means.values())
    assert [means[key] for key in kept] == sorted((means[key] for key in kept), reverse=True)


@given(rewards_by_key)
def test_directions_mirror_each_other_and_order_and_scale_do_not_matter(rewards: dict[int, list[int]]) -> None:
    kept = survivors(rewards, direction=UP, risk=0.1)
    mirrored = {key: [-8 * reward for reward in runs] for key, runs in reversed(list(rewards.items()))}
    assert survivors(mirrored, direction=Direction.MINIMIZE, risk=0.1) == kept


@given(rewards_by_key)
def test_more_risk_drops_more(rewards: dict[int, list[int]]) -> None:
    careful, bold = (set(survivors(rewards, direction=UP, risk=risk)) for risk in (0.01, 0.3))
    assert bold <= careful


@given(st.integers(0, 2**32 - 1))
def test_a_large_difference_is_found_by_the_third_run(seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-0.01, 0.01, size=(3, 3))
    rewards = {key: (noise[key] + (1.0 if key == 0 else 0.0)).tolist() for key in range(3)}
    assert survivors(rewards, direction=UP, risk=0.1) == (0,)


@pytest.mark.slow
def test_equal_configurations_lose_the_first_one_no_more_often_than_the_risk_allows() -> None:
    rng = np.random.default_rng(0)
    risk, n_repeats, lost = 0.2, 800, 0
    for _ in range(n_repeats):
        draws = rng.normal(size=(4, 6))
        alive = {0, 1, 2, 3}
        rewards: dict[int, list[float]] = {key: [] for key in alive}
        for run in range(draws.shape[1]):
            for key in alive:
                rewards[key].append(float(draws[key, run]))
            alive = set(survivors(rewards, direction=UP, risk=risk))
        lost += 0 not in alive
    assert 0 < lost / n_repeats <= risk

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.cli.confirmation_view import certainty_line
from search.confidence import CONFIDENCE, confidence_intervals, seed_deviation, tail_share
from search.elimination import survivors
from search.study_definition import Direction
from search.study_record import Confirmation, StudyResult

NAN, INF = math.nan, math.inf


def winner_and_runs(
    means: list[float], rng: np.random.Generator, *, n_seeds: int
) -> tuple[int, dict[int, list[float]]]:
    """Return the winner of a finish with rounds of elimination, and the runs of all contenders."""
    runs: dict[int, list[float]] = {key: [] for key in range(len(means))}
    alive = tuple(runs)
    for _ in range(n_seeds):
        for key in alive:
            runs[key].append(float(rng.normal(means[key])))
        alive = survivors(runs, direction=Direction.MAXIMIZE, risk=0.1)
    return max(alive, key=lambda key: float(np.mean(runs[key]))), runs


@pytest.mark.slow
@pytest.mark.parametrize(("means", "n_seeds"), [([0.0] * 5, 2), ([0.0] * 3, 3), ([0.0, 0.5, 1.0], 3), ([0.0, 9.0], 2)])
def test_the_interval_of_a_winner_that_was_chosen_for_its_mean_holds_as_often_as_it_says(
    means: list[float], n_seeds: int
) -> None:
    rng = np.random.default_rng(0)
    n_repeats, n_held = 500, 0
    for _ in range(n_repeats):
        winner, runs = winner_and_runs(means, rng, n_seeds=n_seeds)
        low, high = confidence_intervals(runs)[winner]
        n_held += low <= means[winner] <= high
    assert CONFIDENCE - 0.04 <= n_held / n_repeats <= 0.98


def test_a_contender_that_nobody_chose_is_held_at_least_as_often() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(800, 4, 3))
    held = [low <= 0.0 <= high for runs in draws for low, high in [confidence_intervals(_named(runs))[2]]]
    assert CONFIDENCE <= np.mean(held) <= 0.98


def test_a_single_contender_has_the_interval_of_the_textbook() -> None:
    low, high = confidence_intervals({4: [1.0, 2.0, 3.0]})[4]
    assert (low + high) / 2.0 == pytest.approx(2.0)
    assert (high - low) / 2.0 == pytest.approx(2.9199856 / math.sqrt(3.0), rel=1e-6)  # t(0.95, 2)


def test_equal_runs_have_no_interval_without_width() -> None:
    assert confidence_intervals({1: [0.9873, 0.9873], 2: [0.9841, 0.9841]}) == {}
    assert seed_deviation([[0.9873, 0.9873], [0.9841]]) is None
    low, high = confidence_intervals({1: [0.9873, 0.9873], 2: [0.9841, 0.9873]})[1]
    assert low < 0.9873 < high


def test_single_runs_say_nothing_of_the_noise_and_others_lend_theirs() -> None:
    assert confidence_intervals({0: [0.5], 1: [0.7]}) == {}
    assert confidence_intervals({}) == {}
    assert seed_deviation([[0.5], [0.7]]) is None
    lent = confidence_intervals({0: [0.5], 1: [0.7, 0.8, 0.9]})
    assert lent[0][1] - lent[0][0] == pytest.approx(math.sqrt(3.0) * (lent[1][1] - lent[1][0]))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_diverged_run_leaves_no_interval_and_does_not_touch_the_others(bad: float) -> None:
    with_it = confidence_intervals({0: [0.5, 0.6], 1: [0.4, bad], 2: [0.3, 0.5]})
    assert with_it == confidence_intervals({0: [0.5, 0.6], 2: [0.3, 0.5]})


@given(st.lists(st.lists(st.integers(-50, 50), min_size=2, max_size=4), min_size=1, max_size=5), st.integers(-9, 9))
def test_intervals_move_and_stretch_with_the_rewards(runs: list[list[int]], shift: int) -> None:
    plain = confidence_intervals({key: [float(reward) for reward in each] for key, each in enumerate(runs)})
    moved = confidence_intervals({key: [3.0 * reward + shift for reward in each] for key, each in enumerate(runs)})
    for key, (low, high) in plain.items():
        assert low <= float(np.mean(runs[key])) <= high
        assert moved[key] == pytest.approx((3.0 * low + shift, 3.0 * high + shift))


def test_more_contenders_take_wider_intervals() -> None:
    shares = [tail_share(n) for n in range(1, 9)]
    assert shares[:2] == pytest.approx([0.05, 0.05])
    assert all(later < earlier for earlier, later in pairwise(shares[1:]))


def _named(runs: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> dict[int, list[float]]:
    return {key: each.tolist() for key, each in enumerate(runs)}


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (((0.9,), (0.8,)), "No intervals: with a single seed each, nothing is known of the noise"),
        (((0.9, math.nan), (0.8,)), "No intervals: with a single seed each, nothing is known of the noise"),
        (((0.9, 0.9), (0.8, 0.8)), "No intervals: the same reward with each seed is no proof"),
        (((0.9, 0.8), (0.8, 0.8)), "Noise between seeds: "),
    ],
)
def test_the_result_says_why_there_is_no_interval(runs: tuple[tuple[float, ...], ...], words: str) -> None:
    confirmations = [
        Confirmation(
            trial_number=number, rewards=each, best_epochs=(1,) * len(each), mean=each[0], eliminated_after=None
        )
        for number, each in enumerate(runs)
    ]
    told = certainty_line(cast("StudyResult", SimpleNamespace(confirmations=confirmations)))
    assert told.startswith(words)

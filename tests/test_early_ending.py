from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.comparable_rewards import Observation
from search.early_ending import cannot_pay, end_reason, least_gain
from search.sampling.outlook import outlook
from search.search_space import Choices, Condition, Dimension, LinearRange, SearchSpace
from search.study_definition import Direction, EndEarly
from search.study_record import Outlook

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE
RULE = EndEarly()
PAST = Outlook(expected_gain=0.001, possible_gain=0.005, noise=0.01)
OPEN = Outlook(expected_gain=0.001, possible_gain=0.02, noise=0.01)
HORIZON = 8


def space(n_dimensions: int) -> SearchSpace:
    unit = LinearRange(low=0.0, high=1.0)
    return SearchSpace(
        dimensions=tuple(Dimension(name=f"model.x{k}", range=unit, limits=unit) for k in range(n_dimensions))
    )


def surface(
    n: int, *, height: float, noise: float, seed: int, upto: float = 1.0, sign: float = 1.0
) -> list[Observation]:
    """Trials of a bump of that height in the middle, the first coordinate of which they know up to `upto`."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        x = rng.random(2) * np.array([upto, 1.0])
        final = 0.5 + height * math.exp(-4.0 * float(((x - 0.75) ** 2).sum()))
        errors = rng.normal(0.0, noise, 2)
        course = tuple(
            (epoch, sign * (final * -math.expm1(-epoch) + float(error)))
            for epoch, error in zip((HORIZON // 2, HORIZON), errors, strict=True)
        )
        values = {"model.x0": float(x[0]), "model.x1": float(x[1])}
        found.append(
            Observation(number=number, stage="fine", hyperparameters=values, reward=course[-1][1], course=course)
        )
    return found


def look(observations: list[Observation], *, direction: Direction = UP, box: SearchSpace | None = None) -> Outlook:
    found = outlook(observations, box=box or space(2), direction=direction, max_epochs=HORIZON, probability=0.9, seed=1)
    assert found is not None
    return found


def n_at_the_end(observations: list[Observation]) -> int | None:
    """Return how many trials a study has when it ends early."""
    outlooks = [look(observations[: n + 1]) for n in range(RULE.min_trials, len(observations))]
    for n in range(1, len(outlooks) + 1):
        if end_reason(outlooks[:n], RULE, n_left=1):
            return RULE.min_trials + n
    return None


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_a_flat_noisy_surface_ends_a_study(seed: int) -> None:
    assert n_at_the_end(surface(36, height=0.0, noise=0.01, seed=seed)) is not None


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_a_clear_slope_towards_what_has_not_been_tried_does_not(seed: int) -> None:
    assert n_at_the_end(surface(30, height=0.4, noise=0.01, seed=seed, upto=0.4)) is None


def test_what_is_known_all_over_has_less_to_gain_than_what_is_known_in_part() -> None:
    in_part = look(surface(40, height=0.4, noise=0.01, seed=0, upto=0.4))
    all_over = look(surface(40, height=0.4, noise=0.01, seed=0))
    assert not cannot_pay(in_part, RULE)
    assert all_over.possible_gain < 0.5 * in_part.possible_gain


def test_where_trials_diverge_there_is_less_to_gain() -> None:
    known = surface(30, height=0.4, noise=0.01, seed=0, upto=0.4)
    places = np.random.default_rng(1).random((20, 2)) * np.array([0.55, 1.0]) + np.array([0.45, 0.0])
    lost = [
        Observation(
            number=100 + n,
            stage="fine",
            hyperparameters={"model.x0": float(x0), "model.x1": float(x1)},
            reward=-1.0,
            diverged=True,
        )
        for n, (x0, x1) in enumerate(places)
    ]
    assert look([*known, *lost]).possible_gain < 0.5 * look(known).possible_gain


def test_directions_mirror_each_other() -> None:
    up = look(surface(24, height=0.3, noise=0.02, seed=3))
    down = look(surface(24, height=0.3, noise=0.02, seed=3, sign=-1.0), direction=DOWN)
    assert (down.expected_gain, down.possible_gain, down.noise) == pytest.approx(
        (up.expected_gain, up.possible_gain, up.noise), rel=1e-6
    )


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_the_noise_is_found_and_repeated_trials_make_it_surer(noise: float) -> None:
    once = surface(40, height=0.0, noise=noise, seed=5)
    assert noise / 3.0 < look(once).noise < 3.0 * noise
    rng = np.random.default_rng(0)
    repeated = [
        Observation(
            number=40 + n,
            stage="fine",
            hyperparameters=once[0].hyperparameters,
            reward=value,
            course=((HORIZON, value),),
        )
        for n, value in enumerate(rng.normal(0.5, noise, 40).tolist())
    ]
    assert look([*once, *repeated]).noise == pytest.approx(noise, rel=0.3)


def test_without_a_trial_of_full_length_nothing_can_be_said() -> None:
    short = [
        Observation(number=n, stage="a", hyperparameters={"model.x0": n / 9}, reward=0.1, course=((2, 0.1),))
        for n in range(9)
    ]
    assert outlook(short, box=space(1), direction=UP, max_epochs=HORIZON, probability=0.9, seed=0) is None


def test_choices_conditions_and_diverged_trials_are_understood() -> None:
    words = Choices(values=("sgd", "adam"))
    unit = LinearRange(low=0.0, high=1.0)
    box = SearchSpace(
        dimensions=(
            Dimension(name="model.optimizer", range=words, limits=words),
            Dimension(
                name="model.momentum",
                range=unit,
                limits=unit,
                conditions=(Condition(name="model.optimizer", values=("sgd",)),),
            ),
        )
    )
    draw = random.Random(0)
    observations = []
    for number in range(20):
        is_sgd = number % 2 == 0
        values = {"model.optimizer": "sgd", "model.momentum": draw.random()} if is_sgd else {"model.optimizer": "adam"}
        reward = 0.9 - abs(float(values.get("model.momentum", 0.2)) - 0.5) + draw.gauss(0.0, 0.005)
        course = () if number == 7 else ((HORIZON, reward),)
        observations.append(
            Observation(
                number=number,
                stage="fine",
                hyperparameters=values,
                reward=-1.0 if number == 7 else reward,
                diverged=number == 7,
                course=course,
            )
        )
    found = look(observations, box=box)
    assert found.expected_gain >= 0.0 and found.possible_gain >= 0.0 and 0.0 < found.noise < 0.2


_outlooks = st.lists(st.sampled_from([PAST, OPEN, None]), max_size=12)


@given(_outlooks, st.integers(1, 6), st.integers(0, 3))
def test_the_search_ends_when_the_last_outlooks_agree_and_something_is_left(
    outlooks: list[Outlook | None], patience: int, n_left: int
) -> None:
    ends = bool(end_reason(outlooks, EndEarly(patience_trials=patience), n_left=n_left))
    assert ends == (n_left > 0 and len(outlooks) >= patience and all(each is PAST for each in outlooks[-patience:]))


_gains = st.floats(1e-6, 1.0)


@given(_gains, _gains, _gains, _gains)
def test_the_least_gain_is_the_noise_or_what_is_asked_for_and_more_of_it_ends_sooner(
    expected: float, possible: float, noise: float, least: float
) -> None:
    found = Outlook(expected_gain=expected, possible_gain=possible, noise=noise)
    asked = EndEarly(gain_below=least)
    assert (least_gain(found, RULE), least_gain(found, asked)) == (noise, least)
    assert cannot_pay(found, asked) == (max(expected, possible) < least)
    assert cannot_pay(found, asked) <= cannot_pay(found, EndEarly(gain_below=2.0 * least))


def test_the_reason_has_its_figures() -> None:
    reason = end_reason([PAST] * 5, RULE, n_left=7)
    for figure in ("5 finished trials", "0.01", "0.001", "0.005", "90 %", "7 planned trials"):
        assert figure in reason
    assert "0.2, the least that counts" in end_reason([PAST] * 5, EndEarly(gain_below=0.2), n_left=7)

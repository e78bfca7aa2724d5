"""The bandit that spends the next epochs: laws of its beliefs and choices."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.samplers.bandit import FLOOR, Spending, beliefs, choose, improvements

ACTIONS = ("a", "b", "c")
SPENDINGS = st.lists(
    st.builds(
        Spending,
        action=st.sampled_from((*ACTIONS, "")),
        n_epochs=st.integers(1, 50),
        improvement=st.just(0.0) | st.floats(0.01, 1.0),
    ),
    max_size=30,
)
REWARDS = st.lists(st.none() | st.floats(-1e3, 1e3) | st.just(math.nan), max_size=30)


def trial(action: str, *, improvement: float = 0.0, n_epochs: int = 10) -> Spending:
    return Spending(action=action, n_epochs=n_epochs, improvement=improvement)


def shares(told: list[Spending], n_draws: int = 400) -> Counter[str]:
    believed = beliefs(told, ACTIONS)
    return Counter(choose(believed, seed=seed).action for seed in range(n_draws))


# ---- improvements ----------------------------------------------------------------------------------------------------


def test_an_improvement_counts_in_distances_of_the_median_from_the_best() -> None:
    assert improvements([0.0, 1.0, 2.0, 2.5, 2.4, 9.0]) == [0.0, 0.0, 0.0, 0.5, 0.0, 1.0]


@given(rewards=REWARDS, shift=st.integers(-5, 5), unit=st.sampled_from([0.5, 2.0, 8.0]))
def test_improvements_do_not_depend_on_the_unit(rewards: list[float | None], shift: int, unit: float) -> None:
    rounded = [None if each is None or math.isnan(each) else float(round(each)) for each in rewards]
    moved = [None if each is None else unit * each + shift for each in rounded]
    assert improvements(moved) == pytest.approx(improvements(rounded))


@given(rewards=REWARDS)
def test_only_a_new_best_reward_is_an_improvement_and_trials_without_any_move_nothing(
    rewards: list[float | None],
) -> None:
    found = improvements(rewards)
    best = -math.inf
    for reward, improvement in zip(rewards, found, strict=True):
        assert 0.0 <= improvement <= 1.0
        if improvement:
            assert reward is not None
            assert reward > best
        best = max(best, -math.inf if reward is None or math.isnan(reward) else reward)
    known = [n for n, each in enumerate(rewards) if each is not None and not math.isnan(each)]
    assert improvements([rewards[n] for n in known]) == [found[n] for n in known]


# ---- beliefs ---------------------------------------------------------------------------------------------------------


@given(told=SPENDINGS)
def test_beliefs_are_proper_and_know_only_of_the_actions_that_there_are(told: list[Spending]) -> None:
    believed = beliefs(told, ACTIONS)
    assert tuple(believed) == ACTIONS
    for each in believed.values():
        assert 0.0 < each.mean < math.inf
    assert believed == beliefs([each for each in told if each.action], ACTIONS)


@given(told=SPENDINGS, action=st.sampled_from(ACTIONS))
def test_epochs_in_vain_lower_what_is_expected_and_an_improvement_raises_it(told: list[Spending], action: str) -> None:
    others = [each for each in told if each.action != action]

    def against_untried(last: Spending) -> float:
        believed = beliefs([*others, last], (*ACTIONS, "untried"))
        return believed[action].mean / believed["untried"].mean

    vain = against_untried(trial(action, n_epochs=30))
    assert vain < 1.0
    assert against_untried(trial(action, n_epochs=30, improvement=0.5)) > vain


@given(told=SPENDINGS, unit=st.sampled_from([0.5, 0.25]))
def test_the_choice_does_not_depend_on_how_large_improvements_are(told: list[Spending], unit: float) -> None:
    smaller = [replace(each, improvement=unit * each.improvement) for each in told]
    for seed in range(5):
        chosen = choose(beliefs(told, ACTIONS), seed=seed).action
        assert choose(beliefs(smaller, ACTIONS), seed=seed).action == chosen


def test_what_pays_is_chosen_more_and_nothing_is_given_up() -> None:
    told = [trial("abc"[n % 3], improvement=0.2 if n % 3 == 1 else 0.0) for n in range(30)]
    found = shares(told)
    assert found["b"] > 0.75 * found.total()
    assert min(found[each] for each in ACTIONS) > 0.3 * FLOOR * found.total()


def test_what_pays_for_fewer_epochs_is_chosen_more() -> None:
    told = [trial("ab"[n % 2], improvement=0.2, n_epochs=(50, 10)[n % 2]) for n in range(40)]
    believed = beliefs(told, ("a", "b"))
    assert believed["b"].mean > 2.0 * believed["a"].mean


def test_what_paid_long_ago_is_forgotten() -> None:
    early = [trial("abc"[n % 3], improvement=0.2 if n % 3 == 1 else 0.0) for n in range(30)]
    late = [trial("abc"[n % 3], improvement=0.2 if n % 3 == 2 else 0.0) for n in range(60)]
    assert shares(early)["b"] > 2 * shares(early)["c"]
    assert shares([*early, *late])["c"] > 2 * shares([*early, *late])["b"]


def test_an_action_that_was_never_tried_is_tried() -> None:
    told = [trial("ab"[n % 2]) for n in range(40)]
    found = shares(told)
    assert found["c"] == max(found.values())


def test_choices_follow_from_the_seed() -> None:
    believed = beliefs([trial("a", improvement=0.1), trial("b")], ACTIONS)
    drawn = [choose(believed, seed=[7, seed]).action for seed in range(40)]
    assert drawn == [choose(believed, seed=[7, seed]).action for seed in range(40)]
    assert set(drawn) == set(ACTIONS)


@given(told=SPENDINGS, seed=st.integers(0, 999))
def test_a_choice_tells_what_was_believed_of_every_action(told: list[Spending], seed: int) -> None:
    believed = beliefs(told, ACTIONS)
    choice = choose(believed, seed=seed)
    assert tuple(choice.appraisals) == ACTIONS
    draws = {action: each.draw for action, each in choice.appraisals.items() if each.draw is not None}
    assert choice.action in ACTIONS
    assert len(draws) in (0, len(ACTIONS))
    if draws:
        assert draws[choice.action] == max(draws.values())
    for action, each in choice.appraisals.items():
        assert each.mean == pytest.approx(100.0 * believed[action].mean)


def test_what_a_choice_tells_is_what_it_drew_from() -> None:
    believed = beliefs([trial("a", improvement=0.3), trial("b"), trial("b", improvement=0.1)], ACTIONS)
    choices = [choose(believed, seed=seed) for seed in range(4000)]
    drawn = [each.appraisals for each in choices if each.appraisals["a"].draw is not None]
    assert len(drawn) / len(choices) == pytest.approx(1.0 - len(ACTIONS) * FLOOR, abs=0.02)
    for action in ACTIONS:
        draws = np.array([each[action].draw for each in drawn], dtype=float)
        assert draws.mean() == pytest.approx(drawn[0][action].mean, rel=0.1)
        assert draws.std() == pytest.approx(drawn[0][action].deviation, rel=0.1)


def test_many_actions_share_the_choices() -> None:
    names = [str(n) for n in range(50)]
    believed = beliefs([], names)
    assert len({choose(believed, seed=seed).action for seed in range(400)}) == 50


# ---- learning ----------------------------------------------------------------------------------------------------


def test_it_spends_on_the_action_that_pays_and_follows_when_that_changes() -> None:
    random = np.random.default_rng(0)
    told: list[Spending] = []
    chance = {"a": 0.05, "b": 0.4, "c": 0.05}
    for number in range(300):
        if number == 150:
            chance = {"a": 0.05, "b": 0.05, "c": 0.4}
        action = choose(beliefs(told, ACTIONS), seed=number).action
        told.append(trial(action, improvement=0.1 * (random.random() < chance[action])))
    for action, (first, last) in zip("bc", pairwise((50, 150, 300)), strict=True):
        counts = Counter(each.action for each in told[first + 50 * (action == "c") : last])
        assert counts[action] == max(counts.values())
        assert counts[action] > 0.45 * counts.total()

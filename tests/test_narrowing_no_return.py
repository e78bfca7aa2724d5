"""What failed does not come back by the word of a model."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from narrowing_trials import IDLE, KIND, POSTERIOR, RATE, TRUST, Reward, narrowed, numeric, observation, trials

from search.comparable_rewards import Observation
from search.search_space import Choices, Hyperparameters, LogRange, SearchSpace, Value
from search.study_definition import NarrowRule
from search.study_record import NarrowedSpace


def decades(value: Value) -> float:
    return math.log10(float(value))


def staged(
    space: SearchSpace, reward: Reward, sizes: Sequence[int], *, rule: NarrowRule = POSTERIOR
) -> tuple[list[NarrowedSpace], list[Observation]]:
    """Trials of stage after stage, each in the ranges that follow from those before; NaN as reward means diverged."""
    found, known = [narrowed([], space, rule)], list[Observation]()
    for index, n in enumerate(sizes):
        known += trials(found[-1].space, reward, n=n, seed=index, first=len(known), stage=f"stage {index}")
        found.append(narrowed(known, found[-1].space, rule, declared=space))
    return found[1:], known


@pytest.mark.slow
@pytest.mark.parametrize("rule", [POSTERIOR, TRUST], ids=lambda each: str(each.rule))
def test_what_divergence_cut_off_stays_out_without_a_new_trial_there(rule: NarrowRule) -> None:
    space = SearchSpace(dimensions=(RATE, IDLE))
    n_cut = 0
    for seed in range(12):
        shaken = random.Random(seed)

        def reward(point: Hyperparameters) -> float:
            noisy = -abs(decades(point["rate"]) + 4.0) + shaken.gauss(0.0, 1.0)  # noqa: B023
            return math.nan if float(point["rate"]) > 1e-3 else noisy

        found, known = staged(space, reward, (24, 16, 16), rule=rule)
        highs = [numeric(each.space["rate"]).high for each in found]
        n_cut += highs[0] < 0.1
        for before, after, each in zip(highs[:-1], highs[1:], found[1:], strict=True):
            first_failed = min(float(one.hyperparameters["rate"]) for one in known if one.diverged)
            assert after <= max(before, first_failed) * (1.0 + 1e-9)
            reason = each.decisions[0].reason
            assert reason.startswith("no evidence") or ("; not looked for above" in reason) == (before < 1.0), reason
    assert n_cut >= 3


def cut(*, seed: int = 0, failed_from: float = 1e-2, n: int = 24) -> tuple[list[Observation], SearchSpace]:
    """Trials of a first stage that diverge from a rate on, others of a second below 1e-3, and the second's ranges."""
    declared, box = (
        SearchSpace(dimensions=(each, IDLE)) for each in (RATE, replace(RATE, range=LogRange(low=1e-5, high=1e-3)))
    )
    shaken = random.Random(seed)

    def reward(point: Hyperparameters) -> float:
        return math.nan if float(point["rate"]) >= failed_from else shaken.gauss(0.0, 1.0)

    first = trials(declared, reward, n=n, seed=seed)
    return [*first, *trials(box, reward, n=16, seed=seed, first=n, stage="fine")], box


def test_a_range_comes_back_as_far_as_the_furthest_trial_that_may_be_best_and_says_why_no_further() -> None:
    for seed in range(4):
        known, box = cut(seed=seed)
        declared = SearchSpace(dimensions=(RATE, IDLE))
        fit = max(float(each.hyperparameters["rate"]) for each in known if each.may_be_best)
        n_failed = sum(each.diverged for each in known)
        found = narrowed(known, box, POSTERIOR, declared=declared)
        assert numeric(found.space["rate"]).high <= max(1e-3, fit) * (1.0 + 1e-9)
        reason = found.decisions[0].reason
        assert reason.startswith("no evidence") or f", where all {n_failed} diverged)" in reason
        breaking = [replace(each, diverged=False, excesses=(float(each.diverged),)) for each in known]
        found = narrowed(breaking, box, POSTERIOR, declared=declared)
        assert numeric(found.space["rate"]).high <= max(1e-3, fit) * (1.0 + 1e-9)


@pytest.mark.parametrize("rule", [POSTERIOR, TRUST], ids=lambda each: str(each.rule))
def test_what_no_trial_ever_saw_may_come_back(rule: NarrowRule) -> None:
    box, declared = (
        SearchSpace(dimensions=(each,)) for each in (replace(RATE, range=LogRange(low=1e-5, high=1e-3)), RATE)
    )
    known = trials(box, lambda point: decades(point["rate"]), n=30)
    assert numeric(narrowed(known, box, rule, declared=declared).space["rate"]).high > 3e-3
    beyond = observation(30, {"rate": 2e-3}, math.nan)
    found = narrowed([*known, beyond], box, rule, declared=declared)
    assert numeric(found.space["rate"]).high == pytest.approx(2e-3), "the edge moves out to the first that failed"
    assert "; not looked for above 0.001, where the only one diverged" in found.decisions[0].reason


def test_a_dropped_choice_and_a_zero_return_only_if_a_trial_of_theirs_may_be_best() -> None:
    rate = replace(RATE, zero_share=0.2)
    space = SearchSpace(dimensions=(KIND, rate))
    box = SearchSpace(dimensions=(replace(KIND, range=Choices(values=("a", "b"))), RATE))
    known = trials(space, lambda point: float(point["kind"] == "c") + 0.5 * (point["rate"] == 0.0), n=60)
    assert narrowed(known, box, POSTERIOR, declared=space).space["kind"].contains("c")
    failed = [
        replace(each, diverged=True, reward=-1e3)
        if each.hyperparameters["kind"] == "c" or each.hyperparameters["rate"] == 0.0
        else each
        for each in known
    ]
    found = narrowed(failed, box, POSTERIOR, declared=space)
    assert found.space["kind"] == box["kind"] and found.space["rate"].zero_share == 0.0
    n_of_c = sum(each.hyperparameters["kind"] == "c" for each in known)
    assert f"c 0 ({n_of_c} trials; stays out, all of them diverged)" in found.decisions[0].reason
    assert "; stays out, all of them diverged)" in found.decisions[1].reason


@pytest.mark.slow
@pytest.mark.parametrize("what", ["choice", "zero"])
def test_a_choice_or_a_zero_that_always_diverges_is_dropped_for_good(what: str) -> None:
    space = SearchSpace(dimensions=(KIND, replace(RATE, zero_share=0.3)))
    n_dropped = 0
    for seed in range(20):
        shaken = random.Random(seed)

        def reward(point: Hyperparameters) -> float:
            rate = float(point["rate"]) or 1e-3
            noisy = -abs(decades(rate) + 3.0) + shaken.gauss(0.0, 1.0)  # noqa: B023
            return math.nan if (point["kind"] == "a" if what == "choice" else point["rate"] == 0.0) else noisy

        found, _ = staged(space, reward, (36, 16, 16))
        is_there = [
            each.space["kind"].contains("a") if what == "choice" else each.space["rate"].zero_share > 0.0
            for each in found
        ]
        assert is_there == sorted(is_there, reverse=True)
        n_dropped += not is_there[-1]
    assert n_dropped >= 15

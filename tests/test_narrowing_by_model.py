"""The rules that go by a model of all trials: `posterior` and `trust_region`."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from narrowing_trials import (
    IDLE,
    KIND,
    POSTERIOR,
    RATE,
    TRUST,
    UP,
    Reward,
    narrowed,
    numeric,
    peak,
    trials,
)
from small_spaces import dimension

from search.comparable_rewards import Observation
from search.narrowing import considered, narrow, trials_needed
from search.narrowing.optimum import model_of
from search.search_space import (
    Choices,
    Condition,
    Dimension,
    Hyperparameters,
    IntLogRange,
    IntRange,
    LinearRange,
    LogRange,
    OneMinusLogRange,
    SearchSpace,
    Value,
)
from search.study_definition import Direction, NarrowRule
from search.study_record import RangeChange, RangeDecision

rate_peak = partial(peak, name="rate")
RULES = [POSTERIOR, NarrowRule(rule="posterior", probability=0.6), TRUST]
both = pytest.mark.parametrize("rule", [POSTERIOR, TRUST], ids=lambda rule: rule.rule)
MIXED = SearchSpace(
    dimensions=(
        KIND,
        dimension(IntRange(low=2, high=9), IntRange(low=1, high=20), name="depth"),
        dimension(IntLogRange(low=8, high=512), IntLogRange(low=1, high=1024), name="width"),
        dimension(LogRange(low=0.01, high=0.8), zero_share=0.2, name="dropout"),
        dimension(
            OneMinusLogRange(low=0.5, high=0.999),
            OneMinusLogRange(low=0.0, high=0.9999),
            name="momentum",
            when=Condition(name="kind", values=("a", "b")),
        ),
        RATE,
    )
)
MIXED_BOX = SearchSpace(
    dimensions=tuple(
        replace(each, range=Choices(values=("a", "b")))
        if each.name == "kind"
        else replace(each, range=LogRange(low=1e-4, high=1e-1))
        if each.name == "rate"
        else replace(each, zero_share=0.0)
        if each.name == "dropout"
        else each
        for each in MIXED
    )
)


def result(known: Sequence[Observation], dimension: Dimension, rule: NarrowRule) -> tuple[Dimension, RangeDecision]:
    space = SearchSpace(dimensions=(dimension,))
    found = narrowed(known, space, rule)
    return found.space.dimensions[0], found.decisions[0]


def width(dimension: Dimension) -> float:
    range_ = numeric(dimension)
    return range_.scale(range_.high) - range_.scale(range_.low)


def decades(value: Value) -> float:
    return math.log10(float(value))


# ---- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    rule=st.sampled_from(RULES),
    space=st.sampled_from([MIXED, MIXED_BOX]),
    n=st.integers(0, 60),
    seed=st.integers(0, 10**6),
    centre=st.floats(-0.3, 1.3),
    noise=st.floats(0.0, 0.3),
)
def test_any_outcome_keeps_the_laws(
    rule: NarrowRule, space: SearchSpace, n: int, seed: int, centre: float, noise: float
) -> None:
    shaken = random.Random(seed)

    def reward(point: Hyperparameters) -> float:
        unit = RATE.to_unit(point["rate"])
        if unit > 0.9:
            return math.nan
        return -((unit - centre) ** 2) - (point["kind"] == "b") * 0.3 + shaken.gauss(0.0, noise)

    known = trials(MIXED, reward, n=n, seed=seed)
    found = narrowed(known, space, rule, declared=MIXED)
    for before, after, decision, declared in zip(space, found.space, found.decisions, MIXED, strict=True):
        assert after.limits == before.limits
        assert decision.reason
        assert (after == before) == (decision.change is RangeChange.KEPT)
        if isinstance(after.range, Choices):
            assert isinstance(declared.range, Choices)
            assert after.range.values
            assert set(after.range.values) <= set(declared.range.values)
            continue
        new, limits = numeric(after), numeric(replace(after, range=after.limits))
        assert type(new.low) is type(new.high) is type(numeric(before).low)
        assert limits.low <= new.low < new.high <= limits.high
        assert width(after) >= 0.5 * width(before) - 1e-9
        if new.low < numeric(declared).low or new.high > numeric(declared).high:
            assert "crowd at the" in decision.reason
    if n < 12:
        assert found.space == space
        assert all(f"only {n} finished trials" in decision.reason for decision in found.decisions)
    shuffled = list(known)
    shaken.shuffle(shuffled)
    assert narrowed(shuffled, space, rule, declared=MIXED) == found


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(rule=st.sampled_from(RULES), seed=st.integers(0, 1000))
def test_only_the_order_of_rewards_matters_and_directions_mirror(rule: NarrowRule, seed: int) -> None:
    space = SearchSpace(dimensions=(RATE, KIND))
    shaken = random.Random(seed)
    known = trials(
        space, lambda point: rate_peak(1e-2)(point) - (point["kind"] == "b") + shaken.gauss(0.0, 0.3), seed=seed
    )
    expected = narrowed(known, space, rule)
    assert narrowed([replace(each, reward=math.exp(each.reward)) for each in known], space, rule) == expected
    mirrored = [replace(each, reward=-each.reward) for each in known]
    assert narrow(mirrored, space, direction=Direction.MINIMIZE, rule=rule, study_space=space) == expected


@both
def test_the_unit_does_not_matter_in_log_space(rule: NarrowRule) -> None:
    space = SearchSpace(dimensions=(RATE,))
    factor = 8.0
    other = dimension(LogRange(low=8e-5, high=8.0), LogRange(low=8e-7, high=80.0), name="rate")
    for seed in range(2):
        known = trials(space, rate_peak(1e-3), seed=seed)
        scaled = [
            replace(each, hyperparameters={"rate": factor * float(each.hyperparameters["rate"])}) for each in known
        ]
        after, decision = result(known, RATE, rule)
        there, other_decision = result(scaled, other, rule)
        assert decision.change is other_decision.change is RangeChange.NARROWED
        assert numeric(there).low == pytest.approx(factor * numeric(after).low, rel=1e-3)
        assert numeric(there).high == pytest.approx(factor * numeric(after).high, rel=1e-3)


@pytest.mark.slow
@both
def test_the_optimum_stays_inside_in_noisy_searches(rule: NarrowRule) -> None:
    kept = 0
    space = SearchSpace(dimensions=(RATE, IDLE))
    for seed in range(20):
        shaken = random.Random(seed)
        optimum = 10 ** shaken.uniform(-4.5, -0.5)
        known = trials(space, lambda point: rate_peak(optimum)(point) + shaken.gauss(0.0, 0.5), seed=seed)  # noqa: B023
        kept += narrowed(known, space, rule).space["rate"].contains(optimum)
    assert kept >= 19


# ---- numeric ranges --------------------------------------------------------------------------------------------------


@both
def test_a_range_closes_in_and_a_dimension_that_does_not_matter_keeps_its_own(rule: NarrowRule) -> None:
    space = SearchSpace(dimensions=(RATE, IDLE))
    found = narrowed(trials(space, rate_peak(1e-3)), space, rule)
    assert [each.change for each in found.decisions] == [RangeChange.NARROWED, RangeChange.KEPT]
    assert found.space["idle"] == IDLE
    assert found.decisions[1].reason.startswith("no evidence that it matters: its lengthscale is ")
    low, high = numeric(found.space["rate"]).low, numeric(found.space["rate"]).high
    assert 1e-5 < low < 1e-3 < high < 1.0


def test_a_region_of_many_dimensions_needs_more_trials() -> None:
    five = SearchSpace(
        dimensions=tuple(dimension(LinearRange(low=0.0, high=1.0), name=f"x{index}") for index in range(5))
    )
    known = trials(five, lambda point: -abs(float(point["x0"]) - 0.5), n=20)
    reasons = [
        {each.reason for each in narrowed(known[:n], five, rule).decisions}
        for rule in (POSTERIOR, TRUST)
        for n in (19, 20)
    ]
    assert reasons[0] == {"only 19 finished trials lie in the declared ranges; 20 are needed"}
    assert all("are needed" not in reason for each in reasons[1:] for reason in each)
    assert [trials_needed(POSTERIOR, n) for n in (1, 3, 4, 9)] == [12, 12, 16, 36]


def test_rules_by_a_model_go_by_the_trials_of_all_ranges_that_they_may_choose_from_again() -> None:
    declared, moved, whole = (
        SearchSpace(dimensions=(dimension(LogRange(low=low, high=high), RATE.limits, name="rate"),))
        for low, high in ((1e-4, 1e-2), (1e-3, 1e-1), (1e-4, 1e-1))
    )
    for name, expected in (("posterior", whole), ("trust_region", whole), ("quantile_box", moved), ("none", moved)):
        ranges = considered(NarrowRule(rule=name), moved, study_space=declared)
        assert ranges["rate"].range == expected["rate"].range, name


def test_a_choice_that_stays_though_it_is_improbable_says_why() -> None:
    space = SearchSpace(dimensions=(KIND, dimension(LinearRange(low=0.0, high=1.0), name="x")))

    def reward(point: Hyperparameters) -> float:
        return {"a": 1.0, "b": 0.5, "c": 0.0}[str(point["kind"])] - 0.1 * abs(float(point["x"]) - 0.4)

    known = trials(space, reward, n=40)
    of_c = [each for each in known if each.hyperparameters["kind"] == "c"]
    few = [each for each in known if each not in of_c[3:]]
    assert len(few) >= 20
    decision = narrowed(few, space, replace(POSTERIOR, probability=0.2)).decisions[0]
    assert re.search(r"c 0\S* \(3 trials; stays, fewer than 5 tell little\)", decision.reason)


@pytest.mark.parametrize("probability", [0.5, 0.8])
def test_the_ranges_hold_the_stated_share_of_the_drawn_optima_together(probability: float) -> None:
    shaken = random.Random(3)
    space = SearchSpace(
        dimensions=tuple(dimension(LinearRange(low=0.0, high=1.0), name=f"x{index}") for index in range(5))
    )

    def reward(point: Hyperparameters) -> float:
        return -sum((float(value) - 0.4) ** 2 for value in point.values()) + shaken.gauss(0.0, 0.01)

    known = trials(space, reward, n=24)
    found = narrowed(known, space, replace(POSTERIOR, probability=probability))
    best_first = sorted(known, key=lambda each: -each.reward)
    optima = model_of(best_first, space, UP, tells_stages_apart=True).optima(space)
    assert np.mean([found.space.contains(place) for place in optima]) >= probability
    assert any(each.change is RangeChange.NARROWED for each in found.decisions)
    intervals = {each.name: re.findall(r"in \[(\S+), (\S+)\]", each.reason) for each in found.decisions}
    told = {name: (float(ends[0][0]), float(ends[0][1])) for name, ends in intervals.items() if ends}
    held = [
        all(low - 1e-3 <= float(place[name]) <= high + 1e-3 for name, (low, high) in told.items()) for place in optima
    ]
    assert probability <= np.mean(held) < probability + 0.1, "before the padding they are no wider than they need be"


def test_no_range_is_told_to_hold_the_optimum_for_certain() -> None:
    """With a probability near 1 the intervals hold all of the drawn optima, which are too few for certainty."""
    names = [f"x{index}" for index in range(5)]
    space = SearchSpace(dimensions=tuple(dimension(LinearRange(low=0.0, high=1.0), name=each) for each in names))
    known = trials(space, lambda point: -sum((float(value) - 0.4) ** 2 for value in point.values()))
    for each in narrowed(known, space, replace(POSTERIOR, probability=0.99)).decisions:
        assert each.reason.startswith("holds the optimum with a probability of more than 99 % in [")


def test_the_reasons_tell_the_rule_and_its_figures() -> None:
    known = trials(SearchSpace(dimensions=(RATE,)), rate_peak(1e-3))
    _, by_posterior = result(known, RATE, replace(POSTERIOR, probability=0.9))
    assert re.match(r"holds the optimum with a probability of 90\.\d % in \[", by_posterior.reason)
    assert "(48 trials); padded by 15 %" in by_posterior.reason
    assert by_posterior.figures.keys() >= {"lengthscale", "n_trials", "n_draws", "width_share"}
    _, by_region = result(known, RATE, TRUST)
    assert " of trial " in by_region.reason
    assert "length 0.8 of the declared width (0 stages found better ones and 0 did not)" in by_region.reason
    assert by_region.figures["length"] == 0.8


def test_a_larger_probability_makes_a_wider_range() -> None:
    shaken = random.Random(1)
    space = SearchSpace(dimensions=(RATE, IDLE))
    known = trials(space, lambda point: rate_peak(1e-3)(point) + shaken.gauss(0.0, 4.0))
    widths = [
        width(narrowed(known, space, replace(POSTERIOR, probability=probability)).space["rate"])
        for probability in (0.5, 0.8, 0.95, 0.999)
    ]
    assert widths == sorted(widths)
    assert widths[0] < 0.9 * widths[-1]


@both
@pytest.mark.parametrize("optimum", [1e-6, 5.0], ids=["below", "above"])
def test_best_trials_at_an_edge_push_it_out_until_the_limit_cuts_them_off(rule: NarrowRule, optimum: float) -> None:
    after, decision = result(trials(SearchSpace(dimensions=(RATE,)), rate_peak(optimum)), RATE, rule)
    assert decision.change is RangeChange.SHIFTED
    assert (numeric(after).low < 1e-5) == (optimum < 1e-5)
    assert (numeric(after).high > 1.0) == (optimum > 1.0)
    assert "so it moves out" in decision.reason
    assert not decision.cut_off
    fixed = replace(RATE, limits=RATE.range)
    after, decision = result(trials(SearchSpace(dimensions=(fixed,)), rate_peak(optimum)), fixed, rule)
    assert decision.cut_off
    assert "forbids more" in decision.reason


@both
def test_divergence_cuts_the_upper_end(rule: NarrowRule) -> None:
    space = SearchSpace(dimensions=(RATE,))
    known = trials(space, lambda point: math.nan if float(point["rate"]) > 0.03 else rate_peak(3e-3)(point), n=60)
    after, _ = result(known, RATE, rule)
    assert numeric(after).high < 0.3


@both
def test_trials_outside_the_current_range_widen_it_again(rule: NarrowRule) -> None:
    declared = SearchSpace(dimensions=(RATE,))
    box = SearchSpace(dimensions=(replace(RATE, range=LogRange(low=1e-5, high=1e-3)),))
    known = trials(declared, rate_peak(3e-2), n=60)
    found = narrowed(known, box, rule, declared=declared)
    assert found.space["rate"].contains(3e-2)
    assert found.decisions[0].change in (RangeChange.EXTENDED, RangeChange.SHIFTED)


def test_what_short_trials_prefer_gives_way_to_what_later_stages_show() -> None:
    declared = SearchSpace(dimensions=(RATE,))
    coarse = trials(declared, rate_peak(1e-1), n=24)
    first = narrowed(coarse, declared, POSTERIOR).space
    later = trials(declared, rate_peak(1e-4), n=16, first=24, stage="medium")
    found = narrowed([*coarse, *later], first, POSTERIOR, declared=declared)
    assert not first["rate"].contains(1e-4)
    assert found.space["rate"].contains(1e-4)
    assert found.decisions[0].change in (RangeChange.EXTENDED, RangeChange.SHIFTED)


def test_a_region_grows_with_success_and_shrinks_with_failure() -> None:
    def stage(name: str, where: LogRange, *, first: int) -> list[Observation]:
        return trials(
            SearchSpace(dimensions=(replace(RATE, range=where),)), rate_peak(1e-4), n=16, first=first, stage=name
        )

    far, near, bad = LogRange(low=1e-2, high=1.0), LogRange(low=1e-4, high=1e-3), LogRange(low=1e-1, high=1.0)
    lengths = []
    for later in ((), (near,), (bad,), (bad, bad), (bad, near)):
        known = stage("coarse", far, first=0)
        for index, where in enumerate(later, start=1):
            known += stage(f"stage {index}", where, first=16 * index)
        _, decision = result(known, RATE, TRUST)
        lengths.append(decision.figures["length"])
        n_better = sum(each is near for each in later)
        words = "(1 stage found a better one" if n_better == 1 else f"({n_better} stages found better ones"
        assert words in decision.reason
    assert lengths == [0.8, 1.6, 0.4, 0.2, 0.8]


@pytest.mark.parametrize("n_new", [0, 4])
def test_a_region_does_not_grow_with_a_stage_that_only_trains_known_configurations_longer(n_new: int) -> None:
    space = SearchSpace(dimensions=(RATE,))
    coarse = sorted(trials(space, rate_peak(1e-3), n=24), key=lambda each: -each.reward)
    promoted = [
        replace(each, number=24 + n, stage="fine", reward=each.reward + 9.0, first_tried=(each.number, "coarse"))
        for n, each in enumerate(coarse[:4])
    ]
    worse = replace(RATE, range=LogRange(low=1e-1, high=1.0))
    new = trials(SearchSpace(dimensions=(worse,)), rate_peak(1e-3), n=n_new, first=28, stage="fine")
    _, decision = result([*coarse[4:], *promoted, *new], RATE, TRUST)
    assert decision.figures["length"] == 0.4
    assert "0 stages found better ones and 1 did not" in decision.reason


def test_what_matters_more_gets_the_narrower_region() -> None:
    other = replace(RATE, name="decay")
    space = SearchSpace(dimensions=(RATE, other))
    known = trials(space, lambda point: rate_peak(1e-3)(point) - 0.1 * (decades(point["decay"]) + 3.0) ** 2, n=60)
    known += [replace(each, number=60 + each.number, stage="fine", reward=each.reward - 30.0) for each in known]
    found = narrowed(known, space, TRUST)
    assert width(found.space["rate"]) < width(found.space["decay"])


# ---- choices, zeros, conditions --------------------------------------------------------------------------------------


def with_penalties(**penalties: float) -> Reward:
    shaken = random.Random(1)
    return lambda point: shaken.gauss(0.0, 0.3) - penalties[str(point["kind"])]


@both
def test_a_choice_goes_only_with_evidence(rule: NarrowRule) -> None:
    space = SearchSpace(dimensions=(KIND, RATE))
    known = trials(space, with_penalties(a=0.0, b=0.1, c=8.0), n=60)
    found = narrowed(known, space, rule)
    assert found.space["kind"].range == Choices(values=("a", "b"))
    assert found.decisions[0].change is RangeChange.CHOICES_DROPPED
    assert "trials)" in found.decisions[0].reason
    few = [each for each in known if each.hyperparameters["kind"] != "c"]
    few += [each for each in known if each.hyperparameters["kind"] == "c"][:4]
    assert narrowed(few, space, rule).space["kind"] == KIND


@pytest.mark.slow
@both
def test_equal_choices_are_hardly_ever_dropped(rule: NarrowRule) -> None:
    space = SearchSpace(dimensions=(KIND, RATE))
    dropped = 0
    for seed in range(15):
        shaken = random.Random(seed)
        known = trials(space, lambda _: shaken.gauss(0.0, 1.0), seed=seed)  # noqa: B023
        dropped += narrowed(known, space, rule).decisions[0].change is not RangeChange.KEPT
    assert dropped <= 1


def test_a_choice_and_a_zero_come_back_when_the_optimum_is_likely_there() -> None:
    space = SearchSpace(dimensions=(KIND, replace(RATE, zero_share=0.2)))
    box = SearchSpace(dimensions=(replace(KIND, range=Choices(values=("a", "b"))), RATE))
    known = trials(space, lambda point: float(point["kind"] == "c") + 0.5 * (point["rate"] == 0.0), n=60)
    found = narrowed(known, box, POSTERIOR, declared=space)
    assert found.space["kind"].contains("c")
    assert found.space["rate"].zero_share == 0.2
    assert "zero returns" in found.decisions[1].reason


@both
def test_a_bad_zero_is_dropped_and_a_good_one_stays(rule: NarrowRule) -> None:
    rate = replace(RATE, zero_share=0.3)
    space = SearchSpace(dimensions=(rate,))
    for zero, share in ((-9.0, 0.0), (0.0, 0.3)):
        known = trials(space, lambda point: rate_peak(1e-3)(point) if point["rate"] else zero, n=60)  # noqa: B023
        after, decision = result(known, rate, rule)
        assert after.zero_share == share
        assert ("zero dropped" in decision.reason) == (share == 0.0)


@both
def test_conditional_dimensions_are_judged_where_they_are_active(rule: NarrowRule) -> None:
    kind = dimension(Choices(values=("sgd", "adamw")), name="kind")
    momentum = replace(MIXED["momentum"], conditions=(Condition(name="kind", values=("sgd",)),))
    space = SearchSpace(dimensions=(kind, momentum))

    def reward(point: Hyperparameters) -> float:
        near = -math.log10(1.0 - float(point["momentum"])) if "momentum" in point else 0.0
        return -((near - 1.0) ** 2) if "momentum" in point else -0.5

    known = trials(space, reward, n=60)
    found = narrowed(known, space, rule)
    assert found.decisions[1].change is RangeChange.NARROWED
    assert found.space["momentum"].contains(0.9)
    few = [each for each in known if "momentum" not in each.hyperparameters or each.number < 12]
    decision = narrowed(few, space, rule).decisions[1]
    assert decision.change is RangeChange.KEPT
    assert "have it active" in decision.reason


@pytest.mark.slow
@both
def test_thousands_of_trials_are_judged_in_seconds_by_an_excerpt(rule: NarrowRule) -> None:
    space = SearchSpace(dimensions=(RATE, IDLE))
    after = narrowed(trials(space, rate_peak(1e-3), n=3000), space, rule).space["rate"]
    assert after.contains(1e-3)
    assert width(after) < 4.0

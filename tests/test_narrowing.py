from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from narrowing_trials import KINDS_OF_THREE, UP, numeric, observation, only, peak, trials
from small_spaces import dimension, space

from search.errors import StudyDefinitionError
from search.narrowing import RULE_NAMES, declared, narrow
from search.narrowing.edges import NOT_CROWDED
from search.narrowing.guard import guarded
from search.narrowing.interval import Interval
from search.search_space import (
    Choices,
    Dimension,
    Hyperparameters,
    IntLogRange,
    IntRange,
    LinearRange,
    LogRange,
    OneMinusLogRange,
    Range,
)
from search.study_definition import Direction, NarrowRule
from search.study_record import RangeChange

BOX = NarrowRule(rule="quantile_box")


def bounds(dimension: Dimension) -> tuple[float, float]:
    return numeric(dimension).low, numeric(dimension).high


RATE = LogRange(low=1e-5, high=1.0)
WIDE = LogRange(low=1e-7, high=10.0)
KINDS: list[tuple[Range, Range]] = [
    (RATE, WIDE),
    (RATE, RATE),
    (LinearRange(low=-1.0, high=3.0), LinearRange(low=-2.0, high=4.0)),
    (OneMinusLogRange(low=0.5, high=0.999), OneMinusLogRange(low=0.0, high=0.9999)),
    (IntRange(low=2, high=9), IntRange(low=1, high=20)),
    (IntRange(low=2, high=3), IntRange(low=2, high=3)),
    (IntLogRange(low=8, high=512), IntLogRange(low=1, high=1024)),
    (LinearRange(low=0.0, high=1.0), LinearRange(low=0.0, high=1e9)),
    (IntRange(low=1, high=12), IntRange(low=1, high=10**10)),
]


# ---- laws ------------------------------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(
    kind=st.sampled_from(KINDS),
    zero_share=st.sampled_from([0.0, 0.2]),
    n=st.integers(0, 60),
    seed=st.integers(0, 10**6),
    centre=st.floats(-0.3, 1.3),
    noise=st.floats(0.0, 0.3),
)
def test_any_outcome_keeps_the_laws(
    kind: tuple[Range, Range], zero_share: float, n: int, seed: int, centre: float, noise: float
) -> None:
    box = space(dimension(*kind, zero_share=zero_share))
    shaken = random.Random(seed)

    def reward(point: Hyperparameters) -> float:
        unit = box["x"].to_unit(point["x"])
        return math.nan if unit > 0.95 else -((unit - centre) ** 2) + shaken.gauss(0.0, noise)

    observations = trials(box, reward, n=n, seed=seed)
    after, decision = only(narrow(observations, box, direction=UP, rule=BOX))
    before, limits = box["x"], numeric(replace(box["x"], range=box["x"].limits))
    old, new = numeric(before), numeric(after)
    assert type(new) is type(old)
    assert type(new.low) is type(new.high) is type(old.low)
    assert limits.low <= new.low < new.high <= limits.high
    assert after.limits == before.limits
    if new.low < old.low or new.high > old.high:
        assert decision.change in (RangeChange.EXTENDED, RangeChange.SHIFTED)
        assert "crowd at the" in decision.reason
    else:
        assert decision.change in (RangeChange.KEPT, RangeChange.NARROWED, RangeChange.CHOICES_DROPPED)
    assert (after == before) == (decision.change is RangeChange.KEPT)
    width = new.scale(new.high) - new.scale(new.low)
    assert width >= 0.5 * (old.scale(old.high) - old.scale(old.low)) - 1e-9
    assert decision.reason
    shuffled = list(observations)
    shaken.shuffle(shuffled)
    assert only(narrow(shuffled, box, direction=UP, rule=BOX)) == (after, decision)


@settings(max_examples=30)
@given(
    factor=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
    decades=st.floats(-6.0, 1.0),
    share=st.sampled_from([0.0, 0.2]),
)
def test_the_unit_does_not_matter_in_log_space(factor: float, seed: int, decades: float, share: float) -> None:
    box = space(dimension(RATE, WIDE, zero_share=share))
    other = space(
        dimension(
            LogRange(low=RATE.low * factor, high=RATE.high * factor),
            LogRange(low=WIDE.low * factor, high=WIDE.high * factor),
            zero_share=share,
        )
    )
    known = trials(box, lambda point: -abs(math.log10(float(point["x"]) or 1e-9) - decades), seed=seed)
    moved = [replace(each, hyperparameters={"x": float(each.hyperparameters["x"]) * factor}) for each in known]
    after, decision = only(narrow(known, box, direction=UP, rule=BOX))
    scaled, other_decision = only(narrow(moved, other, direction=UP, rule=BOX))
    assert bounds(scaled) == pytest.approx([bound * factor for bound in bounds(after)], rel=1e-6)
    assert other_decision.change is decision.change
    assert other_decision.cut_off == decision.cut_off


@settings(max_examples=30)
@example(seed=315)  # an averaged median would not survive the stretching here
@given(seed=st.integers(0, 1000))
def test_only_the_order_of_rewards_matters_and_directions_mirror(seed: int) -> None:
    box = space(dimension(RATE, WIDE), dimension(Choices(values=("a", "b", "c")), name="kind"))
    shaken = random.Random(seed)
    known = trials(box, lambda point: peak(1e-2)(point) - (point["kind"] == "b") + shaken.gauss(0.0, 0.3), seed=seed)
    expected = narrow(known, box, direction=UP, rule=BOX)
    stretched = [replace(each, reward=math.exp(each.reward)) for each in known]
    assert narrow(stretched, box, direction=UP, rule=BOX) == expected
    mirrored = [replace(each, reward=-each.reward) for each in known]
    assert narrow(mirrored, box, direction=Direction.MINIMIZE, rule=BOX) == expected


def test_the_optimum_stays_inside_in_noisy_searches() -> None:
    box = space(dimension(RATE, WIDE))
    kept = 0
    for seed in range(60):
        shaken = random.Random(seed)
        optimum = 10 ** shaken.uniform(-4.5, -0.5)
        known = trials(box, lambda point: peak(optimum)(point) + shaken.gauss(0.0, 0.5), seed=seed)  # noqa: B023
        after, _ = only(narrow(known, box, direction=UP, rule=BOX))
        kept += after.contains(optimum)
    assert kept >= 57


# ---- numeric ranges --------------------------------------------------------------------------------------------------


def test_a_range_closes_in_on_the_good_region_with_the_figures_in_words() -> None:
    box = space(dimension(RATE, WIDE))
    after, decision = only(narrow(trials(box, peak(1e-3)), box, direction=UP, rule=BOX))
    low, high = bounds(after)
    assert 1e-5 < low < 1e-3 < high < 1.0
    assert decision.change is RangeChange.NARROWED
    assert decision.before == "[1e-05, 1]"
    assert decision.reason.startswith("best 12 of 48 lie in [")
    assert f"KS p = {decision.figures['p_value']:.2g}" in decision.reason
    assert "padded by 15 %" in decision.reason
    assert (decision.figures["n_best"], decision.figures["n_trials"]) == (12.0, 48.0)
    assert not decision.cut_off


def test_a_sharp_peak_leaves_half_of_the_width_a_stage() -> None:
    box = space(dimension(RATE, RATE))
    for stage in range(3):
        after, decision = only(narrow(trials(box, peak(1e-2), n=200), box, direction=UP, rule=BOX))
        low, high = bounds(after)
        assert math.log10(high / low) == pytest.approx(5.0 / 2 ** (stage + 1))
        assert "held at half of the width" in decision.reason
        box = space(after)


def test_a_dimension_that_does_not_matter_keeps_its_range() -> None:
    box = space(dimension(RATE, WIDE), dimension(RATE, WIDE, name="idle"))
    narrowed = narrow(trials(box, peak(1e-3)), box, direction=UP, rule=BOX)
    assert [each.change for each in narrowed.decisions] == [RangeChange.NARROWED, RangeChange.KEPT]
    assert narrowed.space["idle"] == box["idle"]
    assert "no evidence that it matters" in narrowed.decisions[1].reason


@pytest.mark.parametrize("optimum", [1e-6, 5.0], ids=["below", "above"])
def test_best_trials_at_an_edge_push_it_out(optimum: float) -> None:
    box = space(dimension(RATE, WIDE))
    after, decision = only(narrow(trials(box, peak(optimum)), box, direction=UP, rule=BOX))
    low, high = bounds(after)
    assert decision.change is RangeChange.SHIFTED
    assert (low < RATE.low) == (optimum < RATE.low)
    assert (high > RATE.high) == (optimum > RATE.high)
    assert ("lower" if optimum < RATE.low else "upper") in decision.reason
    assert not decision.cut_off


@pytest.mark.parametrize("is_lower", [False, True])
@pytest.mark.parametrize(
    ("centre", "n", "n_least", "n_most"),
    [(0.8, 60, 0, 4), (0.8, 400, 0, 1), (0.85, 400, 0, 6), (1.0, 60, 27, 30), (1.2, 60, 27, 30), (1.2, 24, 15, 30)],
)
def test_only_an_optimum_at_the_very_edge_or_beyond_counts_as_cut_off(
    centre: float, n: int, n_least: int, n_most: int, *, is_lower: bool
) -> None:
    box = space(dimension(RATE, RATE))
    n_cut_off = 0
    for seed in range(30):
        shaken = random.Random(seed)

        def reward(point: Hyperparameters) -> float:
            unit = box["x"].to_unit(point["x"])
            return -abs((1.0 - unit if is_lower else unit) - centre) + shaken.gauss(0.0, 0.05)  # noqa: B023

        n_cut_off += only(narrow(trials(box, reward, n=n, seed=seed), box, direction=UP, rule=BOX))[1].cut_off
    assert n_least <= n_cut_off <= n_most


def test_an_optimum_a_little_beside_a_cliff_is_not_cut_off_by_the_range() -> None:
    box = space(dimension(RATE, RATE))

    def reward(point: Hyperparameters) -> float:
        unit = box["x"].to_unit(point["x"])
        return math.nan if unit > 0.93 else unit

    for seed in range(10):
        _, decision = only(narrow(trials(box, reward, n=60, seed=seed), box, direction=UP, rule=BOX))
        assert not decision.cut_off


@pytest.mark.parametrize("n_values", [3, 4, 5, 12])
def test_the_best_of_a_few_integers_may_be_the_last(n_values: int) -> None:
    box = space(dimension(IntRange(low=1, high=n_values), IntRange(low=1, high=40)))
    for turned in (False, True):
        known = trials(box, lambda point: float(point["x"]) * (-1.0 if turned else 1.0), n=60)  # noqa: B023
        known = [replace(each, reward=each.reward + 1e-3 * (each.number % 7)) for each in known]
        after, decision = only(narrow(known, box, direction=UP, rule=BOX))
        assert decision.cut_off == turned
        assert (bounds(after)[1] > n_values) == (not turned)


def test_an_edge_moves_to_the_limit_and_no_further_and_then_counts_as_cut_off() -> None:
    box = space(dimension(RATE, LogRange(low=1e-5, high=2.0)))
    after, decision = only(narrow(trials(box, peak(100.0)), box, direction=UP, rule=BOX))
    assert bounds(after)[1] == 2.0
    assert not decision.cut_off
    again, decision = only(narrow(trials(space(after), peak(100.0)), space(after), direction=UP, rule=BOX))
    assert bounds(again)[1] == 2.0
    assert decision.cut_off
    assert "hard limit 2" in decision.reason


def test_a_wider_good_region_is_extended_without_losing_the_rest() -> None:
    """Good everywhere except in the lowest tenth: nothing to cut away but the edge that is crowded moves."""
    box = space(dimension(RATE, WIDE))
    units = [i / 47 for i in range(48)]
    best_units = {i for i, unit in enumerate(units) if unit > 0.88 or i in (8, 9, 14, 20, 26, 31)}
    known = [
        observation(i, {"x": box["x"].from_unit(unit)}, float(i in best_units) + i * 1e-6)
        for i, unit in enumerate(units)
    ]
    after, decision = only(narrow(known, box, direction=UP, rule=BOX))
    assert decision.change in (RangeChange.EXTENDED, RangeChange.SHIFTED)
    assert bounds(after)[1] > RATE.high


def test_divergence_cuts_the_upper_end() -> None:
    box = space(dimension(RATE, WIDE))
    known = trials(box, lambda point: math.nan if float(point["x"]) > 0.03 else 0.0, n=60)
    after, decision = only(narrow(known, box, direction=UP, rule=BOX))
    assert bounds(after)[1] < 0.3
    assert decision.change is RangeChange.NARROWED


def test_integers_stay_integers_and_close_in() -> None:
    box = space(dimension(IntRange(low=1, high=40), IntRange(low=1, high=80)))
    after, decision = only(
        narrow(trials(box, lambda point: -abs(float(point["x"]) - 20.0)), box, direction=UP, rule=BOX)
    )
    low, high = bounds(after)
    assert decision.change is RangeChange.NARROWED
    assert isinstance(low, int)
    assert isinstance(high, int)
    assert 1 < low < 20 < high < 40


def test_trials_outside_the_current_ranges_are_no_evidence() -> None:
    box = space(dimension(LogRange(low=1e-3, high=1e-1), WIDE))
    wide = space(dimension(RATE, WIDE))
    known = trials(wide, peak(1e-2), n=100)
    inside = [each for each in known if box.contains(each.hyperparameters)]
    assert 12 <= len(inside) < len(known)
    assert narrow(known, box, direction=UP, rule=BOX) == narrow(inside, box, direction=UP, rule=BOX)


@pytest.mark.parametrize(("n", "n_diverged"), [(0, 0), (11, 0), (40, 36)])
def test_too_few_trials_keep_everything_and_say_so(n: int, n_diverged: int) -> None:
    box = space(dimension(RATE, WIDE), dimension(Choices(values=("a", "b")), name="kind"))
    known = trials(box, peak(1e-3), n=n)
    known = [replace(each, diverged=each.diverged or each.number < n_diverged) for each in known]
    narrowed = narrow(known, box, direction=UP, rule=BOX)
    assert narrowed.space == box
    for decision in narrowed.decisions:
        assert decision.change is RangeChange.KEPT
        assert f"only {n - n_diverged} " in decision.reason


def test_too_few_trials_that_may_be_best_are_told_by_what_became_of_the_others() -> None:
    box = space(dimension(RATE, WIDE))
    known = trials(box, peak(1e-3), n=20)
    fit = [replace(each, excesses=(-1.0,)) for each in known[:4]]
    diverged = [replace(each, diverged=True, excesses=(-1.0,)) for each in known[4:12]]
    breaking = [replace(each, excesses=(1.0,)) for each in known[12:]]
    all_diverge = [replace(each, diverged=True, excesses=(-1.0,)) for each in breaking]
    all_break = [replace(each, diverged=False, excesses=(1.0,)) for each in diverged]
    for others, words in (
        ([*diverged, *all_diverge], "did not diverge"),
        ([*all_break, *breaking], "keep the constraints"),
        ([*diverged, *breaking], "did not diverge and keep the constraints"),
    ):
        _, decision = only(narrow([*fit, *others], box, direction=UP, rule=BOX))
        assert decision.reason == f"only 4 of 20 trials that lie in the current ranges {words}; 5 are needed"


# ---- equal rewards ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_better", [0, 4], ids=["all are equal", "too few are better"])
@pytest.mark.parametrize("seed", range(20))
def test_equal_rewards_are_no_evidence_however_the_trials_are_numbered(n_better: int, seed: int) -> None:
    """The first half of the trials lies at the upper end."""
    box = space(dimension(RATE, WIDE))
    rng = np.random.default_rng(seed)
    units = [*rng.uniform(0.7, 1.0, 12).tolist(), *rng.uniform(0.0, 1.0, 12).tolist()]
    known = [
        observation(number, {"x": box["x"].from_unit(unit)}, float(number < n_better))
        for number, unit in enumerate(units)
    ]
    n_equal = 24 - n_better
    for rule in (BOX, NarrowRule(rule="posterior")):
        after, decision = only(narrow(known, box, direction=UP, rule=rule))
        assert "crowd" not in decision.reason
        if rule == BOX:
            assert after == box["x"]
            assert decision.reason == (
                f"too many rewards are equal, those of {n_equal} of 24 trials: the best cannot be told from the rest"
            )


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n_levels=st.integers(1, 12), order=st.randoms())
def test_the_order_of_equal_rewards_does_not_matter(seed: int, n_levels: int, order: random.Random) -> None:
    box = space(dimension(RATE, WIDE))
    known = trials(box, lambda point: round(n_levels * box["x"].to_unit(point["x"])) / n_levels, n=40, seed=seed)
    expected = only(narrow(known, box, direction=UP, rule=BOX))
    numbers = list(range(40))
    order.shuffle(numbers)
    renumbered = [replace(each, number=number) for each, number in zip(known, numbers, strict=True)]
    assert only(narrow(renumbered, box, direction=UP, rule=BOX)) == expected


def test_coarse_rewards_still_narrow_a_range() -> None:
    box = space(dimension(RATE, WIDE))
    known = trials(box, lambda point: float(1e-4 < float(point["x"]) < 1e-2), n=40)
    after, decision = only(narrow(known, box, direction=UP, rule=BOX))
    n_good = sum(each.reward for each in known)
    assert decision.change is RangeChange.NARROWED
    assert decision.reason.startswith(f"best {n_good:.0f} of 40 lie in [")
    assert bounds(after)[0] > RATE.low


# ---- rules -----------------------------------------------------------------------------------------------------------


def test_none_and_declared_keep_everything_and_say_why() -> None:
    box = space(dimension(RATE, WIDE), KINDS_OF_THREE)
    known = trials(box, peak(1e-3), n=60)
    kept = narrow(known, box, direction=UP, rule=NarrowRule(rule="none"))
    assert kept.space == declared(box).space == box
    assert {each.change for each in kept.decisions} == {RangeChange.KEPT}
    assert {each.change for each in declared(box).decisions} == {RangeChange.DECLARED}
    assert all(each.reason for each in (*kept.decisions, *declared(box).decisions))


def test_an_unknown_rule_is_refused_with_the_name_that_is_close() -> None:
    assert RULE_NAMES == ("quantile_box", "posterior", "trust_region", "none")
    with pytest.raises(StudyDefinitionError, match="Did you mean 'quantile_box'"):
        narrow([], space(KINDS_OF_THREE), direction=UP, rule=NarrowRule(rule="quantil_box"))


@pytest.mark.parametrize(
    ("good", "padding_share", "expected", "words"),
    [
        (Interval(low=2.0, high=8.0), 0.15, (1.1, 8.9), "it is; padded by 15 %"),
        (Interval(low=2.0, high=8.0), 0.0, (2.0, 8.0), "it is"),
        (Interval(low=6.0, high=8.0), 0.15, (4.5, 9.5), "it is; padded by 15 % and held at half of the width"),
        (Interval(low=6.0, high=8.0), 0.0, (4.5, 9.5), "it is; held at half of the width"),
        (Interval(low=0.1, high=9.9), 0.15, (0.0, 10.0), "it is, which is about all of the range"),
    ],
)
def test_a_good_region_is_padded_and_never_less_than_half_of_the_width(
    good: Interval, padding_share: float, expected: tuple[float, float], words: str
) -> None:
    before, within = dimension(LinearRange(low=0.0, high=10.0)), Interval(low=0.0, high=10.0)
    after, decision = guarded(
        before, good, NOT_CROWDED, within=within, why="it is", figures={"n": 1.0}, padding_share=padding_share
    )
    assert isinstance(after.range, LinearRange)
    assert (after.range.low, after.range.high) == pytest.approx(expected)
    assert decision.reason == words
    assert decision.figures == {"n": 1.0, "width_share": pytest.approx((expected[1] - expected[0]) / 10.0)}

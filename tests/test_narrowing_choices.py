"""Choices, conditional dimensions and zeros: what `quantile_box` makes of them."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from narrowing_trials import KINDS_OF_THREE, POSTERIOR, UP, Reward, observation, only, peak, trials
from small_spaces import dimension, space

from search.narrowing import narrow
from search.search_space import Choices, Condition, Hyperparameters, IntRange, LogRange, OneMinusLogRange
from search.study_definition import NarrowRule
from search.study_record import RangeChange

BOX = NarrowRule(rule="quantile_box")


def with_penalties(**penalties: float) -> Reward:
    shaken = random.Random(1)
    return lambda point: shaken.gauss(0.0, 1.0) - penalties[str(point["kind"])]


def test_a_choice_goes_only_when_it_is_worse_beyond_doubt() -> None:
    known = trials(space(KINDS_OF_THREE), with_penalties(good=0.0, fair=0.3, bad=8.0), n=60)
    after, decision = only(narrow(known, space(KINDS_OF_THREE), direction=UP, rule=BOX))
    assert after.range == Choices(values=("good", "fair"))
    assert after.limits == KINDS_OF_THREE.limits
    assert decision.change is RangeChange.CHOICES_DROPPED
    assert (decision.before, decision.after) == ("good | fair | bad", "good | fair")
    assert "bad (p = " in decision.reason
    assert decision.figures["p_value bad"] < 0.05 <= decision.figures["p_value fair"] or (
        "fair" not in decision.reason.split(":")[1]
    )


def test_choices_that_are_spelled_alike_have_figures_of_their_own() -> None:
    box = space(dimension(Choices(values=(1, "1")), name="kind"))
    known = [observation(n, {"kind": 1 if n % 3 else "1"}, float(n % 3 > 0) + n / 100) for n in range(30)]
    for rule, reason in ((BOX, "worse than 1, and none among the best quarter: '1' (p = "), (POSTERIOR, ", '1' ")):
        _, decision = only(narrow(known, box, direction=UP, rule=rule))
        assert (decision.figures["n_trials 1"], decision.figures["n_trials '1'"]) == (20, 10)
        assert reason in decision.reason


@pytest.mark.slow
def test_equal_choices_are_hardly_ever_dropped() -> None:
    box = space(KINDS_OF_THREE)
    dropped = 0
    for seed in range(200):
        shaken = random.Random(seed)
        known = trials(box, lambda _: shaken.gauss(0.0, 1.0), n=48, seed=seed)  # noqa: B023
        dropped += only(narrow(known, box, direction=UP, rule=BOX))[1].change is RangeChange.CHOICES_DROPPED
    assert dropped <= 10


def test_a_choice_with_too_few_trials_stays_however_bad_it_looks() -> None:
    labels = ["good"] * 20 + ["fair"] * 20 + ["bad"] * 4
    known = [observation(i, {"kind": kind}, -i - 100.0 * (kind == "bad")) for i, kind in enumerate(labels)]
    after, _ = only(narrow(known, space(KINDS_OF_THREE), direction=UP, rule=BOX))
    assert isinstance(after.range, Choices)
    assert "bad" in after.range.values


def test_a_choice_with_a_trial_among_the_best_stays() -> None:
    labels = ["good"] * 24 + ["fair"] * 24
    known = [observation(i, {"kind": kind}, -float(i)) for i, kind in enumerate(labels)]
    assert only(narrow(known, space(KINDS_OF_THREE), direction=UP, rule=BOX))[0].range == Choices(
        values=("good", "bad")
    )
    known[-1] = replace(known[-1], reward=1.0)
    assert only(narrow(known, space(KINDS_OF_THREE), direction=UP, rule=BOX))[0] == KINDS_OF_THREE


def test_conditional_dimensions_are_judged_where_they_are_active() -> None:
    kind = dimension(Choices(values=("sgd", "adamw")), name="kind")
    momentum = dimension(
        OneMinusLogRange(low=0.5, high=0.999), name="momentum", when=Condition(name="kind", values=("sgd",))
    )
    box = space(kind, momentum)

    def reward(point: Hyperparameters) -> float:
        near = -math.log10(1.0 - float(point["momentum"])) if "momentum" in point else 0.0
        return -((near - 1.0) ** 2) - (point["kind"] == "sgd")

    known = trials(box, reward, n=60)
    decision = narrow(known, box, direction=UP, rule=BOX).decisions[1]
    n_active = sum("momentum" in each.hyperparameters for each in known)
    assert decision.figures["n_trials"] == n_active < 60
    assert decision.change is RangeChange.NARROWED
    few = [each for each in known if "momentum" not in each.hyperparameters or each.number < 12]
    assert "have it active" in narrow(few, box, direction=UP, rule=BOX).decisions[1].reason


def test_zeros_of_an_or_zero_range_do_not_count_as_positions() -> None:
    dropout = dimension(LogRange(low=0.01, high=0.8), zero_share=0.3)
    box = space(dropout)
    known = trials(box, lambda point: peak(0.1)(point) if point["x"] else -0.05, n=60)
    after, decision = only(narrow(known, box, direction=UP, rule=BOX))
    assert decision.change is RangeChange.NARROWED
    assert after.zero_share == 0.3
    assert after.contains(0.0)
    assert decision.figures["n_trials"] == sum(each.hyperparameters["x"] != 0.0 for each in known)
    assert decision.after.startswith("0 or [")


def test_a_bad_zero_is_dropped_like_a_choice() -> None:
    box = space(dimension(LogRange(low=0.01, high=0.8), zero_share=0.3))
    known = trials(box, lambda point: peak(0.1)(point) if point["x"] else -5.0, n=60)
    after, decision = only(narrow(known, box, direction=UP, rule=BOX))
    assert after.zero_share == 0.0
    assert not after.contains(0.0)
    assert "zero dropped" in decision.reason
    flat = trials(box, lambda point: float(bool(point["x"])) + 1e-6 * (7919.0 * float(point["x"]) % 1.0), n=60)
    after, decision = only(narrow(flat, box, direction=UP, rule=BOX))
    assert after.zero_share == 0.0
    assert decision.change is not RangeChange.KEPT


def test_a_range_that_holds_zero_itself_keeps_it_when_the_extra_zero_is_dropped() -> None:
    box = space(dimension(IntRange(low=0, high=5), zero_share=0.3))
    known = trials(box, lambda point: float(bool(point["x"])) + 1e-6 * (7919.0 * float(point["x"]) % 1.0), n=60)
    after, decision = only(narrow(known, box, direction=UP, rule=BOX))
    assert after.zero_share == 0.0
    assert after.contains(0)
    assert "; extra zero dropped, the range itself still holds 0: worse than not zero" in decision.reason
    assert decision.before == "0 or [0, 5]"
    assert decision.after == "[0, 5]"

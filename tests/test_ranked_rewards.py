"""Constraints and further objectives in what is learned from trials: their order, the ranges, the proposals."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measured_trials import BOUNDED, TWO, at, measured, objective
from suggestions import suggestion

from search.comparable_rewards import ComparableRewards, Observation, comparable_observations
from search.constraint import Constraint
from search.narrowing import narrow
from search.pareto import best_first
from search.promotion import Shortlist
from search.reward import pareto_front, rank_key
from search.search_space import Choices, Dimension, LinearRange, SearchSpace
from search.study_definition import Direction, FurtherObjective, NarrowRule, Objective
from search.trial import FinishedTrial, Score, TrialState

UNIT = LinearRange(low=0.0, high=1.0)
SPACE = SearchSpace(dimensions=(Dimension(name="x", range=UNIT, limits=UNIT),))
NAN, INF = math.nan, math.inf


def scored(trial: FinishedTrial) -> Score:
    assert trial.score is not None
    return trial.score


def ranking(*trials: FinishedTrial, of: Objective) -> list[int]:
    """Numbers, best first, as whoever looks at rewards alone sees them."""
    observations = comparable_observations(trials, objective=of)
    sign = of.direction.sign
    return [each.number for each in sorted(observations, key=lambda each: -sign * each.reward)]


# ---- what is measured ------------------------------------------------------------------------------------------------


def test_bounds_and_further_objectives_are_measured_where_the_reward_is() -> None:
    both = replace(TWO, constraints=BOUNDED.constraints)
    score = scored(measured(0, at(0.5, 0.0), at(0.9, 0.06), at(0.8, 0.3), of=both))
    assert (score.reward, score.best_epoch) == (0.9, 2)
    assert score.measured == {"gap_acc": 0.06}
    assert score.losses == (0.06,)
    assert score.violation == pytest.approx(0.2)  # 0.01 of 0.05 too much


def test_the_time_of_an_epoch_is_the_median_and_parameters_are_counted() -> None:
    goal = objective(
        further=(FurtherObjective(monitor="epoch_seconds", direction=Direction.MINIMIZE),),
        constraints=(Constraint(metric="n_parameters", at_most=100.0),),
    )
    epochs = [
        at(value, 0.0, epoch_seconds=seconds, n_parameters=90) for value, seconds in ((0.1, 9), (0.9, 2), (0.2, 1))
    ]
    score = scored(measured(0, *epochs, of=goal))
    assert score.measured == {"epoch_seconds": 2.0, "n_parameters": 90.0}
    assert score.violation == 0.0


@pytest.mark.parametrize("value", [NAN, INF, -INF, None])
def test_what_was_not_measured_keeps_no_bound_and_is_the_worst_of_a_further_objective(value: float | None) -> None:
    metrics = {"val_acc": 0.9} if value is None else at(0.9, value)
    both = replace(TWO, constraints=BOUNDED.constraints)
    score = scored(measured(0, metrics, of=both))
    assert score.violation == 1.0
    assert score.losses == (INF,)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-0.2, 0.2)), min_size=1, max_size=20))
def test_the_best_by_constraints_and_reward_is_on_the_front(values: list[tuple[float, float]]) -> None:
    both = replace(TWO, constraints=BOUNDED.constraints)
    scores = [scored(measured(number, at(*each), of=both)) for number, each in enumerate(values)]
    best = min(range(len(scores)), key=lambda index: rank_key(scores[index], both))
    assert best in pareto_front(scores, both)
    if any(each.violation == 0.0 for each in scores):
        assert scores[best].violation == 0.0


# ---- one order for all who look at rewards ---------------------------------------------------------------------------


@pytest.mark.parametrize("direction", list(Direction))
def test_what_breaks_a_constraint_lies_below_all_that_keeps_it(direction: Direction) -> None:
    goal = replace(BOUNDED, direction=direction)
    values = [0.1, 0.9, 0.95, 0.99, 0.5]
    gaps = [0.0, 0.04, 0.2, 0.06, 0.05]
    trials = [
        measured(number, at(direction.sign * value, gap), of=goal)
        for number, (value, gap) in enumerate(zip(values, gaps, strict=True))
    ]
    diverged = measured(5, at(NAN, NAN), of=goal, state=TrialState.DIVERGED)
    assert ranking(*trials, diverged, of=goal) == [1, 4, 0, 3, 2, 5]


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.06, 0.06, 7.0, 1e12])), min_size=1, max_size=12))
def test_the_rewards_of_those_that_keep_the_constraints_stay_as_they_are(values: list[tuple[float, float]]) -> None:
    trials = [measured(number, at(*each), of=BOUNDED) for number, each in enumerate(values)]
    found = {each.number: each.reward for each in comparable_observations(trials, objective=BOUNDED)}
    kept = {number: value for number, (value, gap) in enumerate(values) if gap <= 0.05}
    broken = {number: gap for number, (_, gap) in enumerate(values) if gap > 0.05}
    assert {number: found[number] for number in kept} == kept
    assert all(found[bad] < min(kept.values()) for bad in broken if kept)
    assert all((found[one] < found[other]) == (broken[one] > broken[other]) for one in broken for other in broken)


def test_with_several_objectives_the_place_on_the_fronts_is_the_reward() -> None:
    points = [(0.9, 0.30), (0.5, 0.29), (0.8, 0.10), (0.7, 0.00), (0.75, 0.09), (0.6, 0.2)]
    trials = [measured(number, at(*point), of=TWO) for number, point in enumerate(points)]
    order = ranking(*trials, of=TWO)
    assert order == best_first([(-accuracy, gap) for accuracy, gap in points], [0.0] * len(points))
    assert set(order[:4]) == {0, 2, 3, 4}


def test_further_objectives_of_short_trials_get_what_longer_ones_still_gained() -> None:
    """The gap grows as trials go on: a short one must not look good for being short."""
    long = [measured(n, at(0.5, 0.01), at(0.6, 0.05), at(0.9, 0.21 + n / 100), of=TWO) for n in range(3)]
    short = measured(9, at(0.4, 0.02), of=TWO)
    (found,) = (each for each in comparable_observations([*long, short], objective=TWO) if each.number == 9)
    assert found.losses == pytest.approx((-0.8, 0.02 + 0.21))  # both by the median of the longer ones


def test_the_excerpt_for_a_sampler_holds_the_best_by_the_same_order() -> None:
    draw = random.Random(1)
    for goal in (BOUNDED, TWO):
        rewards = ComparableRewards(goal)
        trials = [
            measured(n, at(draw.random(), 0.1 * draw.random()), of=goal, point={"x": draw.random()}) for n in range(40)
        ]
        for trial in trials:
            rewards.add(trial)
        best = ranking(*trials, of=goal)[:5]
        assert set(best) <= {each.number for each in rewards.informative(SPACE, at_most=10)}


def test_a_promotion_takes_what_keeps_the_constraints_first() -> None:
    shortlist = Shortlist(1.0)
    for number, (accuracy, gap) in enumerate([(0.9, 0.1), (0.5, 0.04), (0.6, 0.05), (0.95, 0.07)]):
        shortlist.add(measured(number, at(accuracy, gap), of=BOUNDED))
    order = []
    while (trial := shortlist.best(lambda number: 0.0 if number == 2 else 1.0, below_epochs=5)) is not None:
        order.append(trial.record.number)
        shortlist.drop(trial.record.key)
    assert order == [2, 1, 3, 0]


# ---- ranges ----------------------------------------------------------------------------------------------------------


def spread(n_trials: int, *, of: Objective) -> list[FinishedTrial]:
    """Accuracy grows with x, and so does the gap: 0.05 at 0.5."""
    points = [(number + 0.5) / n_trials for number in range(n_trials)]
    return [measured(number, at(x, 0.1 * x), of=of, point={"x": x}) for number, x in enumerate(points)]


def narrowed(trials: list[FinishedTrial], *, of: Objective, rule: str) -> tuple[LinearRange, str]:
    found = narrow(
        comparable_observations(trials, objective=of),
        SPACE,
        direction=of.direction,
        rule=NarrowRule(rule=rule, probability=0.8),
    )
    box = found.space["x"].range
    assert isinstance(box, LinearRange)
    return box, found.decisions[0].reason


@pytest.mark.parametrize(("rule", "reach"), [("quantile_box", 0.7), ("posterior", 0.7), ("trust_region", 0.85)])
def test_the_best_that_ranges_follow_keep_the_constraints(rule: str, reach: float) -> None:
    free, _ = narrowed(spread(40, of=objective()), of=objective(), rule=rule)
    bounded, _ = narrowed(spread(40, of=BOUNDED), of=BOUNDED, rule=rule)
    assert free.low > 0.35 and free.high == 1.0
    assert bounded.low < 0.3 and bounded.high < reach


@pytest.mark.parametrize("rule", ["quantile_box", "posterior", "trust_region"])
def test_where_too_few_keep_the_constraints_ranges_stay_and_say_so(rule: str) -> None:
    impossible = objective(constraints=(Constraint(metric="gap_acc", at_most=0.005),))
    box, reason = narrowed(spread(40, of=impossible), of=impossible, rule=rule)
    assert box == UNIT
    where = "current" if rule == "quantile_box" else "declared"
    assert reason == f"only 2 of 40 trials that lie in the {where} ranges keep the constraints; 5 are needed"


def test_a_region_lies_about_a_trial_that_keeps_the_constraints() -> None:
    """Trials that break them are many and lie between those that keep them: a model of all may think them better."""
    trials = []
    for number in range(40):
        x = (number + 0.5) / 40
        kept = number % 8 == 4
        trials.append(measured(number, at(x, 0.04 if kept else 0.0501), of=BOUNDED, point={"x": x}))
    _, reason = narrowed(trials, of=BOUNDED, rule="trust_region")
    centre = int(reason.partition(" of trial ")[2].partition(",")[0])
    assert centre % 8 == 4


def test_a_choice_that_always_breaks_the_constraints_goes_though_it_fills_up_the_best_quarter() -> None:
    """Of 60 trials, 10 keep the constraints: the quarter of 15 has others among them."""
    kinds = Dimension(name="kind", range=Choices(values=("a", "b")), limits=Choices(values=("a", "b")))
    space = SearchSpace(dimensions=(kinds, *SPACE))
    trials = []
    for number in range(60):
        kept = number % 6 == 0
        point = {"kind": "a" if kept else "b", "x": (7 * number % 60 + 0.5) / 60}
        trials.append(measured(number, at(0.5, 0.04 if kept else 0.09), of=BOUNDED, point=point))
    observations = comparable_observations(trials, objective=BOUNDED)
    for rule in ("quantile_box", "posterior", "trust_region"):
        found = narrow(observations, space, direction=BOUNDED.direction, rule=NarrowRule(rule=rule, probability=0.8))
        assert found.space["kind"].range == Choices(values=("a",)), found.decisions[0].reason


@pytest.mark.parametrize("rule", ["quantile_box", "posterior", "trust_region"])
def test_ranges_follow_the_whole_front(rule: str) -> None:
    """What is good for one objective alone, or for both a little, stays inside; what is good for none goes."""
    trials = []
    for number in range(60):
        x = (number + 0.5) / 60
        trade_off = abs(x - 0.3)  # up to 0.3 more accuracy costs more gap; beyond it, both get worse
        accuracy, gap = (x, x) if x < 0.3 else (0.3 - trade_off, 0.3 + trade_off)
        trials.append(measured(number, at(accuracy, gap), of=TWO, point={"x": x}))
    box, _ = narrowed(trials, of=TWO, rule=rule)
    assert box.low < 0.02 and 0.29 < box.high < 0.7


# ---- proposals -------------------------------------------------------------------------------------------------------


def proposals(sampler: str, trials: list[FinishedTrial], *, of: Objective, n: int) -> list[float]:
    observations = comparable_observations(trials, objective=of)
    points = []
    for index in range(n):
        point = suggestion(
            sampler, box=SPACE, direction=of.direction, observations=observations, running=({"x": 0.9},), index=index
        )
        points.append(float(point["x"]))
    return points


@pytest.mark.parametrize(
    "sampler", ["tpe", "cmaes", "staged_gp", "policy", "mixed", pytest.param("gp", marks=pytest.mark.slow)]
)
def test_models_propose_where_the_constraints_are_kept(sampler: str) -> None:
    n = 1 if sampler == "gp" else 12  # a Gaussian process takes its time
    diverged = measured(40, at(NAN, NAN), of=BOUNDED, state=TrialState.DIVERGED, point={"x": 0.99})
    bounded = proposals(sampler, [*spread(40, of=BOUNDED), diverged], of=BOUNDED, n=n)
    free = proposals(sampler, spread(40, of=objective()), of=objective(), n=n)
    assert sum(x <= 0.6 for x in bounded) > 0.7 * n
    assert sum(x <= 0.6 for x in free) < 0.3 * n


@pytest.mark.parametrize("sampler", ["tpe", "staged_gp", "policy", "mixed", pytest.param("gp", marks=pytest.mark.slow)])
def test_models_propose_on_the_front(sampler: str) -> None:
    """Between 0.2 and 0.5 every point is on the front, beyond it none is."""
    trials = []
    for number in range(40):
        x = (number + 0.5) / 40
        off = max(0.2 - x, 0.0, x - 0.5)
        trials.append(measured(number, at(x - 3 * off, x + 3 * off), of=TWO, point={"x": x}))
    trials.append(measured(40, at(NAN, NAN), of=TWO, state=TrialState.DIVERGED, point={"x": 0.9}))
    trials.append(measured(41, {"val_acc": 0.1}, of=TWO, point={"x": 0.95}))
    n = 2 if sampler == "gp" else 16
    found = proposals(sampler, trials, of=TWO, n=n)
    assert sum(0.1 <= x <= 0.6 for x in found) > 0.7 * n


def test_observations_from_elsewhere_need_not_know_of_constraints() -> None:
    known = comparable_observations(spread(20, of=BOUNDED), objective=BOUNDED)
    other = Observation(number=99, stage="past", hyperparameters={"x": 0.2}, reward=0.3)
    assert SPACE.contains(suggestion("tpe", box=SPACE, observations=(*known, other)))

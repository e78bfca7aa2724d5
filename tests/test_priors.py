"""Priors over dimensions: what a study file may say, where points then lie, and how a wrong prior is overcome."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_study import MINIMAL, study
from scipy.stats import spearmanr
from suggestions import suggestion
from test_bad_study_files import GOOD

from search.comparable_rewards import Observation
from search.errors import StudyDefinitionError
from search.narrowing import declared
from search.portfolio import REFINE
from search.priors import ChoicePrior, NormalPrior, Prior
from search.sampling.expected import expected_unit
from search.sampling.prior_trust import prior_trust
from search.search_space import (
    Choices,
    Condition,
    Dimension,
    IntRange,
    LogRange,
    OneMinusLogRange,
    Range,
    SearchSpace,
    Value,
)
from search.study_definition import Direction
from search.study_file import definition_from_plain, definition_to_plain, load_study_file

MODELS = ("tpe", "cmaes", "policy", "staged_gp", REFINE)
SAMPLERS = ("random", "qmc", *MODELS)


def dimension(name: str, range_: Range, *, prior: Prior | None = None, **more: Any) -> Dimension:
    return Dimension(name=name, range=range_, limits=range_, prior=prior, **more)


RATE = dimension("rate", LogRange(low=1e-6, high=1.0), prior=NormalPrior(mean=1e-4, spread=0.5))
SPACE = SearchSpace(
    dimensions=(
        dimension(
            "optimizer",
            Choices(values=("sgd", "adamw", "lion")),
            prior=ChoicePrior(shares=(("sgd", 0.0), ("adamw", 0.9), ("lion", 0.1))),
        ),
        RATE,
        dimension(
            "momentum",
            OneMinusLogRange(low=0.5, high=0.999),
            prior=NormalPrior(mean=0.9, spread=0.3),
            conditions=(Condition(name="optimizer", values=("sgd",)),),
        ),
        dimension("depth", IntRange(low=1, high=20), prior=NormalPrior(mean=4.0, spread=1.0), zero_share=0.2),
        dimension("width", IntRange(low=1, high=20)),
    )
)


def point(
    sampler: str,
    index: int,
    *,
    box: SearchSpace = SPACE,
    observations: tuple[Observation, ...] = (),
    direction: Direction = Direction.MAXIMIZE,
    declared: SearchSpace | None = None,
) -> dict[str, Value]:
    return suggestion(
        sampler,
        box=box,
        direction=direction,
        observations=observations,
        stage_seed=5,
        trial_seed=1000 + index,
        index=index,
        declared=declared,
    )


def decades_off(rate: Value) -> float:
    return abs(math.log10(float(rate)) + 4.0)


@functools.cache
def trials(best_rate: float, n_trials: int = 40) -> tuple[Observation, ...]:
    """Evenly spread ones of an earlier stage, the better the closer to a rate."""
    plain = SearchSpace(dimensions=tuple(replace(each, prior=None) for each in SPACE))
    points = [point("qmc", index, box=plain) for index in range(n_trials)]
    return tuple(
        Observation(
            number=number,
            stage="coarse",
            hyperparameters=values,
            reward=-abs(math.log10(float(values["rate"]) / best_rate)),
        )
        for number, values in enumerate(points)
    )


# ---- where points lie ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_half_of_the_trials_ignore_the_priors(sampler: str) -> None:
    points = [point(sampler, index) for index in range(256)]
    tolerance = 0.015 if sampler == "qmc" else 0.08
    far = [each for each in points if decades_off(each["rate"]) > 1.5]
    assert len(far) / len(points) == pytest.approx(0.5 * 0.5 + 0.5 * 0.05 * 0.5, abs=tolerance)
    all_far = [each for each in far if each["optimizer"] == "sgd"]
    assert len(all_far) / len(points) == pytest.approx(0.5 * 0.5 / 3.0, abs=0.03), "of all priors at once"
    optimizers = [each["optimizer"] for each in points]
    for name, share in (
        ("sgd", (0.5 + 0.5 * 0.05) / 3.0),
        ("adamw", 0.5 * 0.95 * 0.9 + (0.5 + 0.5 * 0.05) / 3.0),
    ):
        assert optimizers.count(name) / len(points) == pytest.approx(share, abs=tolerance)
    depths = [each["depth"] for each in points]
    assert depths.count(0) / len(points) == pytest.approx(0.2, abs=tolerance), "zeros stay as they are declared"
    near = [2 <= depth <= 6 for depth in depths if depth]
    assert statistics.mean(near) == pytest.approx(0.5 * (0.95 * 0.99 + 0.05 / 4.0) + 0.5 / 4.0, abs=0.05)
    widths = [each["width"] for each in points]
    assert statistics.mean(map(float, widths)) == pytest.approx(10.5, abs=1.0), "without a prior, as ever"


ONLY_DEPTH = SearchSpace(dimensions=(SPACE["depth"],))
UNITS = st.floats(0.0, 1.0)


@given(
    mean=st.floats(1e-6, 1.0),
    spread=st.floats(0.01, 9.0),
    low=st.floats(-6.0, -1.0),
    zero_share=st.sampled_from([0.0, 0.3]),
    trust=st.sampled_from([0.0, 0.5, 1.0]),
    units=st.tuples(UNITS, UNITS),
)
def test_quantiles_stay_in_the_range_and_in_order(
    mean: float, spread: float, low: float, zero_share: float, trust: float, units: tuple[float, float]
) -> None:
    wide = LogRange(low=1e-6, high=1.0)
    box = Dimension(
        name="rate",
        range=LogRange(low=10.0**low, high=1.0),
        limits=wide,
        zero_share=zero_share,
        prior=NormalPrior(mean=mean, spread=spread),
    )
    first, second = (expected_unit(box, unit, trust=trust) for unit in sorted(units))
    assert 0.0 <= first <= second <= 1.0
    assert [first < zero_share, second < zero_share] == [unit < zero_share for unit in sorted(units)]
    if trust == 0.0:
        assert first == pytest.approx(min(units), abs=1e-9)


@given(unit=UNITS)
def test_ranges_that_have_left_the_prior_behind_are_sampled_evenly(unit: float) -> None:
    assert expected_unit(replace(RATE, range=LogRange(low=1e-2, high=1.0)), unit) == pytest.approx(unit, abs=0.01)


def test_ranges_are_declared_as_they_were() -> None:
    assert [each.after for each in declared(SPACE).decisions][1] == "[1e-06, 1]"


# ---- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_proposal_lies_in_the_box(sampler: str) -> None:
    for index in range(8):
        values = point(sampler, index, observations=trials(1e-4, 20))
        assert SPACE.contains(values)
        assert values == point(sampler, index, observations=trials(1e-4, 20)[::-1])


@pytest.mark.slow
@pytest.mark.parametrize("sampler", MODELS)
def test_a_model_asks_the_prior_less_and_less(sampler: str) -> None:
    plain = SearchSpace(dimensions=tuple(replace(each, prior=None) for each in SPACE))

    def n_changed(n_known: int) -> int:
        pairs = (
            [point(sampler, index, box=box, observations=trials(1e-4, n_known)) for box in (SPACE, plain)]
            for index in range(30)
        )
        return sum(with_prior != without for with_prior, without in pairs)

    # Expected are 30 x 4 / (4 + 12) = 7.5 and 30 x 4 / (4 + 200) = 0.6.
    assert 4 <= n_changed(12) <= 12
    assert n_changed(200) <= 2


@pytest.mark.parametrize("sampler", MODELS)
def test_a_model_does_not_ask_a_prior_that_the_trials_speak_against(sampler: str) -> None:
    box = SearchSpace(dimensions=(RATE, SPACE["width"]))
    plain = SearchSpace(dimensions=tuple(replace(each, prior=None) for each in box))
    known = tuple(
        replace(each, hyperparameters={name: each.hyperparameters[name] for name in box.names})
        for each in trials(1.0, 16)
    )
    for index in range(16):
        assert point(sampler, index, box=box, observations=known) == point(
            sampler, index, box=plain, observations=known
        )


@pytest.mark.parametrize("sampler", MODELS)
def test_before_a_model_knows_enough_priors_are_mixed_in_once(sampler: str) -> None:
    if sampler != "cmaes":  # which needs no trials
        assert [point(sampler, index) for index in range(8)] == [point("qmc", index) for index in range(8)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_trials_outside_the_ranges_may_have_the_zero_that_these_have_no_more(sampler: str) -> None:
    share = dimension("share", LogRange(low=0.01, high=0.8), prior=NormalPrior(mean=0.1, spread=0.5), zero_share=0.3)
    whole = SearchSpace(dimensions=(share, SPACE["width"]))
    box = SearchSpace(dimensions=(replace(share, range=LogRange(low=0.05, high=0.5), zero_share=0.0), SPACE["width"]))
    points = [point("qmc", index, box=whole) for index in range(24)]
    assert any(each["share"] == 0.0 for each in points)
    known = tuple(
        Observation(number=number, stage="coarse", hyperparameters=values, reward=float(values["share"]))
        for number, values in enumerate(points)
    )
    for index in range(16):
        assert box.contains(point(sampler, index, box=box, observations=known, declared=whole))


@pytest.mark.parametrize("direction", list(Direction))
def test_a_prior_is_dropped_when_the_trials_speak_against_it(direction: Direction) -> None:
    box = SearchSpace(dimensions=(RATE,))
    plain = SearchSpace(dimensions=(replace(RATE, prior=None),))
    for best_rate, is_kept in ((1e-4, True), (1e-1, False)):
        known = tuple(
            replace(each, reward=direction.sign * each.reward, hyperparameters={"rate": each.hyperparameters["rate"]})
            for each in trials(best_rate, 16)
        )
        points = [point("qmc", i, box=box, observations=known, direction=direction) for i in range(32)]
        evenly = [point("qmc", i, box=plain) for i in range(32)]
        off = [statistics.mean(decades_off(each["rate"]) for each in found) for found in (points, evenly)]
        assert (off[0] < 0.7 * off[1]) is is_kept
        assert (off[0] == pytest.approx(off[1], rel=0.1)) is not is_kept


def test_extra_zeros_do_not_speak_against_it() -> None:
    def observed(depths: list[int]) -> list[Observation]:
        return [
            Observation(number=n, stage="coarse", hyperparameters={"depth": each}, reward=-float(each))
            for n, each in enumerate(depths)
        ]

    beside = [4, 5, 6, 4, 5, 6]
    for added, is_trusted in ((0, True), (1, False)):
        trust = prior_trust(ONLY_DEPTH, observed([*beside, *[added] * 6]), Direction.MAXIMIZE)
        assert (trust["depth"] == 1.0) is is_trusted


def test_priors_count_half_without_evidence_and_none_more_than_all_together() -> None:
    both = SearchSpace(dimensions=(RATE, SPACE["depth"]))

    def trust(reward: Callable[[float, int], float]) -> dict[str, float]:
        points = [(10.0**-decades, depth) for decades in (1, 2, 3, 4) for depth in (2, 4, 9, 16)]
        known = [
            Observation(
                number=n, stage="coarse", hyperparameters={"rate": rate, "depth": depth}, reward=reward(rate, depth)
            )
            for n, (rate, depth) in enumerate(points)
        ]
        return prior_trust(both, known, Direction.MAXIMIZE)

    assert trust(lambda rate, depth: -decades_off(rate)) == {"rate": 1.0, "depth": 0.5}
    assert trust(lambda rate, depth: 0.0) == {"rate": 0.5, "depth": 0.5}
    assert trust(lambda rate, depth: 1000.0 * decades_off(rate) - abs(depth - 4)) == {"rate": 0.0, "depth": 0.0}
    assert prior_trust(ONLY_DEPTH, [], Direction.MAXIMIZE) == {"depth": 1.0}


def test_where_a_dimension_is_not_active_its_prior_is_not_judged() -> None:
    conditional = SearchSpace(dimensions=tuple(SPACE[name] for name in ("optimizer", "rate", "momentum")))
    known = [
        Observation(
            number=number,
            stage="coarse",
            hyperparameters={"optimizer": "adamw" if number % 2 else "lion", "rate": 1e-4},
            reward=float(number % 2),
        )
        for number in range(12)
    ]
    trust = prior_trust(conditional, known, Direction.MAXIMIZE)
    assert trust == {"optimizer": 1.0, "rate": 0.5, "momentum": 1.0}, "no trial has had momentum"
    against = [replace(each, reward=-each.reward) for each in known]
    trust = prior_trust(conditional, against, Direction.MAXIMIZE)
    assert trust == {"optimizer": 0.0, "rate": 0.0, "momentum": 1.0}


def test_trust_follows_from_rank_correlations_of_each_and_of_the_sum() -> None:
    kind = dimension(
        "kind", Choices(values=("a", "b", "c")), prior=ChoicePrior(shares=(("a", 0.9), ("b", 0.1), ("c", 0.0)))
    )
    depth = dimension(
        "depth",
        IntRange(low=1, high=20),
        prior=NormalPrior(mean=4.0, spread=1.0),
        conditions=(Condition(name="kind", values=("a", "b")),),
    )
    had = [("a", 4), ("a", 6), ("a", 20), ("b", 3), ("b", 5), ("b", 7), ("c", None), ("c", None)]
    rewards = [0.6, 0.9, 0.1, 0.7, 0.5, 0.2, 0.8, 0.3]
    known = [
        Observation(
            number=number,
            stage="coarse",
            hyperparameters={"kind": a_kind} if a_depth is None else {"kind": a_kind, "depth": a_depth},
            reward=reward,
        )
        for number, ((a_kind, a_depth), reward) in enumerate(zip(had, rewards, strict=True))
    ]
    of_kind = [math.log(0.9)] * 3 + [math.log(0.1)] * 3 + [-8.0] * 2  # the least there is
    of_depth = [0.0, -2.0, -8.0, -0.5, -0.5, -4.5]
    of_depth += [statistics.mean(of_depth)] * 2
    together = [one + other for one, other in zip(of_kind, of_depth, strict=True)]

    def expected(densities: list[float], earned: list[float]) -> float:
        correlation = float(spearmanr(densities, earned).statistic)
        return min(max(0.5 + 0.5 * correlation * math.sqrt(len(earned) - 1), 0.0), 1.0)

    alone = {"kind": expected(of_kind, rewards), "depth": expected([0.0, -2.0, -128.0, -0.5, -0.5, -4.5], rewards[:6])}
    limit = expected(together, rewards)
    assert 0.0 < alone["kind"] < limit < alone["depth"]
    trust = prior_trust(SearchSpace(dimensions=(kind, depth)), known, Direction.MAXIMIZE)
    assert trust == pytest.approx({name: min(each, limit) for name, each in alone.items()})


def test_joint_densities_that_are_equal_are_no_evidence() -> None:
    optimizer = dimension(
        "optimizer", Choices(values=("sgd", "adamw")), prior=ChoicePrior(shares=(("sgd", 0.5), ("adamw", 0.5)))
    )
    nesterov = dimension(
        "nesterov",
        Choices(values=(True, False, "mixed")),
        prior=ChoicePrior(shares=((True, 1 / 3), (False, 1 / 3), ("mixed", 1 / 3))),
        conditions=(Condition(name="optimizer", values=("sgd",)),),
    )
    for n_trials in range(10, 40):
        known = [
            Observation(
                number=number,
                stage="coarse",
                hyperparameters={"optimizer": "sgd", "nesterov": True} if number % 2 else {"optimizer": "adamw"},
                reward=float(number % 2),
            )
            for number in range(n_trials)
        ]
        trust = prior_trust(SearchSpace(dimensions=(optimizer, nesterov)), known, Direction.MINIMIZE)
        assert trust == {"optimizer": 0.5, "nesterov": 0.5}


def test_few_trials_cannot_speak_against_it() -> None:
    assert point("qmc", 3, observations=trials(1e-1, 4)) == point("qmc", 3)


# ---- the study file --------------------------------------------------------------------------------------------------

ENTRIES: list[tuple[dict[str, Any], Prior]] = [
    ({"log": [1e-5, 1.0], "prior": {"mean": 1e-3, "decades": 1}}, NormalPrior(mean=1e-3, spread=1.0)),
    ({"int_log": [8, 512], "prior": {"mean": 64, "decades": 0.3}}, NormalPrior(mean=64.0, spread=0.3)),
    ({"one_minus_log": [0.5, 0.99], "prior": {"mean": 0.9, "decades": 1}}, NormalPrior(mean=0.9, spread=1.0)),
    ({"linear": [-1.0, 1.0], "prior": {"mean": 0, "spread": 0.5}}, NormalPrior(mean=0.0, spread=0.5)),
    ({"int": [1, 9], "prior": {"spread": 2, "mean": 4}}, NormalPrior(mean=4.0, spread=2.0)),
    (
        {"choice": ["he", "xavier", 32, False], "prior": {"he": 0.5, "32": 0.25}},
        ChoicePrior(shares=(("he", 0.5), ("xavier", 0.125), (32, 0.25), (False, 0.125))),
    ),
]


@pytest.mark.parametrize(("entry", "prior"), ENTRIES)
def test_a_prior_is_read_and_written(entry: dict[str, Any], prior: Prior) -> None:
    definition = study(space={"model.argument": entry})
    assert definition.space["model.argument"].prior == prior
    assert definition_from_plain(definition_to_plain(definition)) == definition


def test_a_dimension_without_a_prior_is_written_as_ever() -> None:
    assert "prior" not in definition_to_plain(study())["space"]["model.width"]


# (entry of model.dropout, key, value got, expectation or way out)
BAD = [
    ("{log: [0.01, 0.8], prior: {mean: 0.1, spread: 1}}", ".spread", "1.0", "mean and decades"),
    ("{log: [0.01, 0.8], prior: {mean: 0.1, decade: 1}}", ".decade", "1.0", "Did you mean 'decades'?"),
    ("{log: [0.01, 0.8], prior: {mean: 0.1}}", "", "decades is missing", "needs mean and decades"),
    ("{log: [0.01, 0.8], prior: {mean: 7, decades: 1}}", ".mean", "7.0", "within the hard limits [0.001, 0.95]"),
    ("{log: [0.01, 0.8], prior: {mean: 0.1, decades: 0}}", ".decades", "0.0", "a number > 0"),
    ("{log: [0.01, 0.8], prior: {mean: much, decades: 1}}", ".mean", "'much'", "a finite number"),
    ("{log: [0.01, 0.8], prior: {}}", "", "{}", "at least one entry"),
    ("{log: [0.01, 0.8], prior: 0.1}", "", "0.1", "a mapping"),
    ("{choice: [he, xavier], prior: {hee: 0.5}}", ".hee", "'hee'", "Did you mean 'he'?"),
    ("{choice: [he, xavier], prior: {he: 1.5}}", ".he", "1.5", "from 0 to 1"),
    ("{choice: [he, xavier], prior: {he: 0.7, xavier: 0.7}}", "", "1.4", "sum to 1"),
    ("{choice: [he, xavier, normal], prior: {he: 0.7, xavier: 0.7}}", "", "1.4", "sum to at most 1"),
    ("{choice: [1, '1'], prior: {'1': 0.7}}", "", "[1, '1']", "spelled differently"),
]


@pytest.mark.parametrize(("entry", "key", "got", "expected"), BAD)
def test_a_bad_prior_is_refused_with_its_place(tmp_path: Path, entry: str, key: str, got: str, expected: str) -> None:
    file = tmp_path / "study.yaml"
    old = "model.dropout: {log: [0.01, 0.8], or_zero: 0.1}"
    assert old in GOOD
    file.write_text(GOOD.replace(old, f"model.dropout: {entry}"))
    with pytest.raises(StudyDefinitionError) as caught:
        load_study_file(file)
    text = str(caught.value)
    assert text.startswith(f"{file}:20: space.model.dropout.prior{key}: ")
    assert got in text
    assert expected in text


def test_the_minimal_study_may_set_a_prior_on_the_command_line() -> None:
    overrides = ["space.model.width.prior.mean=16", "space.model.width.prior.decades=0.2"]
    definition = definition_from_plain(MINIMAL, overrides=overrides)
    assert definition.space["model.width"].prior == NormalPrior(mean=16.0, spread=0.2)

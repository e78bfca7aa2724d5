"""Trials outside a stage's ranges: which they are, where they lie, and how the ranges reach out to them again."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from study_runs import run_session
from suggestions import suggestion
from virtual_engine import Faults, KilledError, VirtualEngine

from search.cli.rows import trial_row
from search.cli.trials_table import trials_table
from search.comparable_rewards import Observation
from search.epoch_log import read_epoch_log
from search.narrowing import narrow
from search.paths import StateDirectory
from search.priors import NormalPrior
from search.sampling import EXPLORED, outside_point, point_outside
from search.search_space import (
    Choices,
    Condition,
    Dimension,
    Hyperparameters,
    IntLogRange,
    IntRange,
    LinearRange,
    LogRange,
    NumericRange,
    OneMinusLogRange,
    SearchSpace,
)
from search.study_definition import Direction, NarrowRule
from search.study_file import definition_from_plain
from search.study_record import NarrowedSpace, RangeChange
from search.tracking.trial_rows import identity_tags

RATE = Dimension(name="rate", range=LogRange(low=1e-6, high=1.0), limits=LogRange(low=1e-7, high=10.0), zero_share=0.1)
KIND = Dimension(name="kind", range=Choices(values=("a", "b", "c")), limits=Choices(values=("a", "b", "c")))
DEPTH = Dimension(
    name="depth",
    range=IntRange(low=1, high=20),
    limits=IntRange(low=1, high=20),
    conditions=(Condition(name="kind", values=("a", "b")),),
)
DECLARED = SearchSpace(dimensions=(RATE, KIND, DEPTH))
BOX = SearchSpace(
    dimensions=(
        replace(RATE, range=LogRange(low=1e-5, high=1e-3), zero_share=0.0),
        replace(KIND, range=Choices(values=("a", "b"))),
        replace(DEPTH, range=IntRange(low=4, high=9)),
    )
)
RULE = NarrowRule(rule="quantile_box", outside_share=0.2)
SEEDS = st.integers(0, 2**31 - 1)


def point(index: int, *, share: float = 0.2, seed: int = 5, box: SearchSpace = BOX) -> Hyperparameters | None:
    return outside_point(declared=DECLARED, box=box, share=share, stage_seed=seed, index_in_stage=index)


# ---- which trials, and where -----------------------------------------------------------------------------------------


@given(share=st.sampled_from([0.05, 0.1, 0.25, 0.5]), seed=SEEDS, n_trials=st.integers(1, 25))
def test_as_many_lie_outside_as_the_share_says_and_evenly_so(share: float, seed: int, n_trials: int) -> None:
    points = [point(index, share=share, seed=seed) for index in range(n_trials)]
    outside = [each for each in points if each is not None]
    assert abs(len(outside) - share * n_trials) < 1.0
    for each in outside:
        assert not BOX.contains(each)
        assert DECLARED.contains(each)
    assert points == [point(index, share=share, seed=seed) for index in range(n_trials)]
    assert len({tuple(each.items()) for each in outside}) == len(outside)


def test_they_are_no_copies_of_the_trials_inside() -> None:
    width = Dimension(name="width", range=LogRange(low=1.0, high=64.0), limits=LogRange(low=1.0, high=64.0))
    declared = SearchSpace(dimensions=(replace(RATE, prior=NormalPrior(mean=1e-4, spread=1.0)), width))
    box = SearchSpace(
        dimensions=(replace(declared["rate"], range=LogRange(low=1e-5, high=1e-3), zero_share=0.0), width)
    )
    inside = {suggestion("qmc", box=box, stage_seed=5, index=index)["width"] for index in range(64)}
    explored = [point_outside(declared, box=box, seed=(5, EXPLORED), index=index) for index in range(32)]
    shared = [
        outside_point(declared=declared, box=box, share=1.0, stage_seed=5, index_in_stage=index) for index in range(32)
    ]
    for points in (explored, shared):
        assert not inside & {each["width"] for each in points if each is not None}


def test_no_place_in_the_stage_is_favoured() -> None:
    firsts = [next(n for n in range(4) if point(n, share=0.25, seed=seed * 2**26)) for seed in range(32)]
    assert [firsts.count(n) for n in range(4)] == [8, 8, 8, 8]


def test_without_a_share_and_without_anything_outside_every_trial_lies_inside() -> None:
    assert all(point(index, share=0.0) is None for index in range(50))
    assert all(point(index, share=0.5, box=DECLARED) is None for index in range(10))


def test_points_outside_are_spread_over_the_declared_ranges() -> None:
    points = [each for index in range(64) if (each := point(index, share=0.5)) is not None]
    assert len(points) == 32
    assert {each["kind"] for each in points} == {"a", "b", "c"}
    zeros = [each for each in points if each["rate"] == 0.0]
    assert 1 <= len(zeros) <= 6
    decades = {len(str(int(1.0 / float(each["rate"])))) for each in points if each["rate"] != 0.0}
    assert len(decades) >= 5


# ---- reaching out ----------------------------------------------------------------------------------------------------


def inside_trials(seed: int, n_trials: int = 24) -> list[Observation]:
    """Trials inside the box with rewards below 1."""
    draw = random.Random(seed)
    units = [{name: draw.random() for name in BOX.names} for _ in range(n_trials)]
    return [
        Observation(number=number, stage="medium", hyperparameters=BOX.from_units(each), reward=draw.random())
        for number, each in enumerate(units)
    ]


def outside_trial(number: int, hyperparameters: Hyperparameters, *, reward: float = 2.0) -> Observation:
    return Observation(number=number, stage="medium", hyperparameters=hyperparameters, reward=reward, is_outside=True)


def narrowed(observations: list[Observation], *, rule: NarrowRule = RULE) -> NarrowedSpace:
    return narrow(observations, BOX, direction=Direction.MAXIMIZE, rule=rule, study_space=DECLARED)


@pytest.mark.slow
@given(seed=st.integers(0, 99), found=st.lists(st.tuples(SEEDS, st.integers(0, 9)), min_size=1, max_size=3))
def test_the_new_ranges_contain_the_best_trials_outside(seed: int, found: list[tuple[int, int]]) -> None:
    trials = inside_trials(seed)
    points = [each for seed_, index in found if (each := point(index, share=1.0, seed=seed_)) is not None]
    outside = [outside_trial(100 + n, each) for n, each in enumerate(points)]
    without, result = narrowed(trials), narrowed([*trials, *outside])
    shuffled = [*outside, *trials]
    random.Random(seed).shuffle(shuffled)
    assert narrowed(shuffled) == result
    for each in outside:
        assert result.space.contains(each.hyperparameters)
    for dimension, smaller, declared in zip(result.space, without.space, DECLARED, strict=True):
        assert dimension.limits == declared.limits
        if isinstance(dimension.range, Choices):
            assert isinstance(smaller.range, Choices)
            assert set(smaller.range.values) <= set(dimension.range.values)
            continue
        assert not isinstance(smaller.range, Choices)
        assert not isinstance(declared.range, Choices)
        assert min(declared.range.low, smaller.range.low) <= dimension.range.low <= smaller.range.low
        assert max(declared.range.high, smaller.range.high) >= dimension.range.high >= smaller.range.high


@pytest.mark.parametrize(
    "trial",
    [
        outside_trial(100, {"rate": 0.1, "kind": "a", "depth": 5}, reward=0.0),  # no good
        replace(outside_trial(100, {"rate": 0.1, "kind": "a", "depth": 5}), is_outside=False),  # judged long ago
        replace(outside_trial(100, {"rate": 0.1, "kind": "a", "depth": 5}, reward=-9.0), diverged=True),
    ],
)
def test_no_other_trial_outside_moves_anything(trial: Observation) -> None:
    trials = [replace(each, reward=each.reward + 1.0) for each in inside_trials(3)]
    assert narrowed([*trials, trial]) == narrowed(trials)


def test_too_few_trials_say_nothing_about_the_outside_either() -> None:
    trial = outside_trial(100, {"rate": 0.1, "kind": "a", "depth": 5})
    assert narrowed([*inside_trials(3, 10), trial]).space == BOX


def test_the_rule_none_leaves_the_ranges_as_they_are() -> None:
    trial = outside_trial(100, {"rate": 0.1, "kind": "c"})
    assert narrowed([*inside_trials(3), trial], rule=NarrowRule(rule="none")).space == BOX


def test_choices_and_zeros_come_back_and_the_reasons_say_from_where() -> None:
    result = narrowed([*inside_trials(3), outside_trial(100, {"rate": 0.0, "kind": "c"})])
    decisions = {decision.name: decision for decision in result.decisions}
    assert result.space["rate"].zero_share == 0.1
    assert result.space["kind"].range == Choices(values=("a", "b", "c"))
    assert decisions["kind"].change is RangeChange.EXTENDED
    assert decisions["kind"].reason.endswith(
        "; trial 100, sampled outside, is among the best 7 of 25, so it reaches out to a | b | c"
    )
    assert decisions["kind"].figures["n_outside_best"] == 1.0
    assert decisions["depth"] == {each.name: each for each in narrowed(inside_trials(3)).decisions}["depth"]


def test_a_range_reaches_past_the_trial_by_a_padding_but_not_past_what_was_declared() -> None:
    for rate, high in ((1e-2, (1.5e-2, 1e-1)), (0.9, (1.0, 1.0))):
        result = narrowed([*inside_trials(3), outside_trial(100, {"rate": rate, "kind": "a", "depth": 5})])
        range_ = result.space["rate"].range
        assert isinstance(range_, LogRange)
        assert high[0] <= range_.high <= high[1]


BEYOND = [
    (LogRange(low=1e-6, high=0.1), LogRange(low=1e-9, high=100.0), 50.0),
    (LogRange(low=1e-6, high=0.1), LogRange(low=1e-9, high=100.0), 1e-8),
    (LogRange(low=1e-6, high=0.1), LogRange(low=1e-9, high=100.0), 100.0),
    (LinearRange(low=-1.0, high=1.0), LinearRange(low=-5.0, high=3.0), -4.0),
    (OneMinusLogRange(low=0.5, high=0.99), OneMinusLogRange(low=0.0, high=0.99999), 0.9999),
    (IntRange(low=4, high=9), IntRange(low=1, high=20), 20),
    (IntLogRange(low=16, high=64), IntLogRange(low=1, high=1024), 3),
]


@pytest.mark.parametrize("rule", ["quantile_box", "posterior", "trust_region"])
@pytest.mark.parametrize(("range_", "limits", "value"), BEYOND)
def test_the_ranges_reach_past_what_was_declared_to_a_good_trial_beyond_it(
    range_: NumericRange, limits: NumericRange, value: float, rule: str
) -> None:
    declared = SearchSpace(dimensions=(Dimension(name="x", range=range_, limits=limits),))
    draw = random.Random(1)
    points = [declared.from_units({"x": draw.random()}) for _ in range(24)]
    trials = [
        Observation(number=number, stage="coarse", hyperparameters=each, reward=draw.random())
        for number, each in enumerate(points)
    ]
    listed = outside_trial(24, {"x": value})
    found = narrow(
        [*trials, listed],
        declared,
        direction=Direction.MAXIMIZE,
        rule=NarrowRule(rule=rule),
        study_space=declared,
    )
    after, (decision,) = found.space["x"].range, found.decisions
    assert not isinstance(after, Choices)
    assert found.space["x"].contains(value)
    assert limits.low <= after.low < after.high <= limits.high
    assert "trial 24, sampled outside, is among the best 7 of 25, so it reaches out to" in decision.reason
    assert decision.change in (RangeChange.EXTENDED, RangeChange.SHIFTED)


# ---- what it is for --------------------------------------------------------------------------------------------------

LINE = SearchSpace(
    dimensions=tuple(
        Dimension(name=name, range=LogRange(low=1e-6, high=1.0), limits=LogRange(low=1e-6, high=1.0))
        for name in ("rate", "decay")
    )
)


def search_with(outside_share: float, *, seed: int) -> list[NarrowedSpace]:
    """Search for an optimum at 1e-1 whose place the box of the first stage has cut off."""
    draw = random.Random(seed)

    def reward(hyperparameters: Hyperparameters) -> float:
        where = LINE["rate"].range
        assert isinstance(where, LogRange)
        distance = where.scale(float(hyperparameters["rate"])) - where.scale(1e-1)
        return -(distance**2) + draw.gauss(0.0, 0.1)

    box = SearchSpace(dimensions=(replace(LINE["rate"], range=LogRange(low=1e-6, high=1e-3)), LINE["decay"]))
    rule = NarrowRule(rule="quantile_box", outside_share=outside_share)
    observations: list[Observation] = []
    results: list[NarrowedSpace] = []
    for stage in range(3):
        for index in range(24):
            number = len(observations)
            outside = outside_point(
                declared=LINE, box=box, share=outside_share, stage_seed=100 * seed + stage, index_in_stage=index
            )
            chosen = outside or suggestion(
                "random", box=box, stage=str(stage), stage_seed=stage, trial_seed=1000 * seed + number, index=index
            )
            observations.append(
                Observation(
                    number=number,
                    stage=str(stage),
                    hyperparameters=chosen,
                    reward=reward(chosen),
                    is_outside=outside is not None,
                )
            )
        results.append(narrow(observations, box, direction=Direction.MAXIMIZE, rule=rule, study_space=LINE))
        box = results[-1].space
    return results


def test_an_optimum_that_was_cut_off_early_is_found_again() -> None:
    optimum = {"rate": 1e-1, "decay": 1e-3}
    for seed in range(5):
        stages = search_with(0.2, seed=seed)
        assert stages[0].space["rate"].contains(optimum["rate"]), stages[0].decisions
        last = stages[-1].space["rate"].range
        assert isinstance(last, LogRange)
        assert last.low > 1e-5, "and the ranges close in on it from there"
        assert last.low < optimum["rate"] < last.high
        # The rule itself creeps out by a quarter of its width a stage, from an edge that the best crowd at.
        assert not search_with(0.0, seed=seed)[0].space["rate"].contains(optimum["rate"])


# ---- in a study ------------------------------------------------------------------------------------------------------

PLAIN: dict[str, Any] = {
    "study": "bell",
    "seed": 3,
    "model": {"class_path": "package.Net"},
    "objective": {"monitor": "val_acc", "direction": "maximize"},
    "space": {"model.learning_rate": {"log": [1.0e-6, 1.0]}},
    "stages": [
        {"name": "coarse", "n_trials": 16, "max_epochs": 1, "sampler": "qmc"},
        {"name": "fine", "n_trials": 4, "max_epochs": 1, "sampler": "random"},
    ],
    "narrow": {"rule": "quantile_box", "outside_share": 0.5},
}


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_study_marks_its_trials_outside_and_resumes_to_the_same_ones(tmp_path: Path) -> None:
    study = definition_from_plain(PLAIN)
    whole, killed = StateDirectory(root=tmp_path / "whole"), StateDirectory(root=tmp_path / "killed")
    record = run_session(whole, VirtualEngine(), study)
    trials = [trial.record for trial in record.trials]
    box = record.openings[1].narrowed.space
    assert not any(trial.is_outside for trial in trials[:16])
    assert sum(trial.is_outside for trial in trials[16:]) == 2
    assert all(box.contains(trial.hyperparameters) is not trial.is_outside for trial in trials[16:])
    for trial in trials:
        logged = read_epoch_log(whole.study("bell").trial(trial.key).epoch_log)
        assert logged is not None
        assert logged.is_outside is trial.is_outside
        assert ("zeroin.outside" in identity_tags(trial)) is trial.is_outside
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(trials_table(record, record.trials, width=160))
    assert console.export_text().count("fine, outside") == 2
    assert [trial_row(trial, record.definition.objective)["is_outside"] for trial in record.trials] == [
        trial.is_outside for trial in trials
    ]
    checkpoints: dict[str, int] = {}
    with pytest.raises(KilledError):
        run_session(killed, VirtualEngine(checkpoints=checkpoints, faults=Faults(killed_after_polls=28)), study)
    resumed = run_session(killed, VirtualEngine(checkpoints=checkpoints), study)
    assert [(each.record.hyperparameters, each.record.is_outside) for each in resumed.trials] == [
        (each.hyperparameters, each.is_outside) for each in trials
    ]

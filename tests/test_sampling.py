from __future__ import annotations

import functools
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from suggestions import suggestion

from search.comparable_rewards import Observation
from search.errors import StudyDefinitionError
from search.portfolio import REFINE
from search.sampling import MODEL_SAMPLERS, SAMPLER_NAMES
from search.sampling.optuna_view import view_coordinates
from search.sampling.propose import WHOLE_SPACE_SAMPLERS
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
    Range,
    SearchSpace,
    Value,
)
from search.study_definition import Direction

# Fitting a Gaussian process takes half a second each time.
SAMPLERS = [pytest.param(name, marks=pytest.mark.slow) if name == "gp" else name for name in SAMPLER_NAMES]


def dimension(name: str, range_: Range, *, zero_share: float = 0.0, when: Condition | None = None) -> Dimension:
    conditions = () if when is None else (when,)
    return Dimension(name=name, range=range_, limits=range_, zero_share=zero_share, conditions=conditions)


SGD = Condition(name="optimizer", values=("sgd", "nesterov"))
BOX = SearchSpace(
    dimensions=(
        dimension("optimizer", Choices(values=("sgd", "nesterov", "adamw"))),
        dimension("rate", LogRange(low=1e-5, high=1.0)),
        dimension("momentum", OneMinusLogRange(low=0.5, high=0.999), when=SGD),
        dimension("dropout", LogRange(low=0.01, high=0.8), zero_share=0.3),
        dimension("width", IntLogRange(low=8, high=256)),
        dimension("depth", IntRange(low=1, high=6), zero_share=0.2),
        dimension("shift", LinearRange(low=-1.0, high=1.0)),
        dimension("flag", Choices(values=(True, False))),
    )
)
RATE_ONLY = SearchSpace(dimensions=(dimension("rate", LogRange(low=1e-5, high=1.0)),))
CHOICES_ONLY = SearchSpace(dimensions=(dimension("flag", Choices(values=("a", "b", "c"))),))
SINGLE = SearchSpace(
    dimensions=(dimension("kind", Choices(values=("only",))), dimension("rate", LogRange(low=0.1, high=1.0)))
)


def ask(
    sampler: str,
    *,
    box: SearchSpace = BOX,
    observations: tuple[Observation, ...] = (),
    running: tuple[Hyperparameters, ...] = (),
    index: int = 0,
    seed: int = 0,
    direction: Direction = Direction.MAXIMIZE,
    declared: SearchSpace | None = None,
) -> dict[str, Value]:
    return suggestion(
        sampler,
        box=box,
        direction=direction,
        observations=observations,
        running=running,
        stage_seed=seed,
        trial_seed=1000 * seed + index,
        index=index,
        target_epochs=8,
        declared=declared,
    )


def quality(hyperparameters: Hyperparameters) -> float:
    """Best at a rate of 1e-2 with adamw; units of the rate decide most."""
    rate = RATE_ONLY["rate"].to_unit(hyperparameters["rate"])
    return 1.0 - (rate - 0.6) ** 2 - (0.1 if hyperparameters.get("optimizer") == "sgd" else 0.0)


def replace_ranges(space: SearchSpace, **ranges: Range) -> SearchSpace:
    return SearchSpace(dimensions=tuple(replace(each, range=ranges.get(each.name, each.range)) for each in space))


def history_of(box: SearchSpace, n_trials: int) -> tuple[Observation, ...]:
    points = [ask("qmc", box=box, index=index, seed=7) for index in range(n_trials)]
    return tuple(
        Observation(number=number, stage="coarse", hyperparameters=point, reward=float(number % 5))
        for number, point in enumerate(points)
    )


@functools.cache
def history(n_trials: int, *, box: SearchSpace = BOX, stage: str = "coarse") -> tuple[Observation, ...]:
    points = [ask("qmc", box=box, index=index, seed=7) for index in range(n_trials)]
    return tuple(
        Observation(number=number, stage=stage, hyperparameters=point, reward=quality(point))
        for number, point in enumerate(points)
    )


@pytest.mark.parametrize("n_observations", [0, 1, 9, 10, 30])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_proposal_lies_in_the_box(sampler: str, n_observations: int) -> None:
    for index in range(2 if sampler == "gp" else 6):  # a Gaussian process takes half a second
        point = ask(sampler, observations=history(n_observations), index=index)
        assert BOX.contains(point)
        assert type(point["width"]) is int
        assert type(point["depth"]) is int
        assert type(point["rate"]) is float
        assert type(point["flag"]) is bool
        assert ("momentum" in point) == (point["optimizer"] != "adamw")


NARROWED = SearchSpace(
    dimensions=(
        replace(BOX["optimizer"], range=Choices(values=("sgd", "adamw"))),
        replace(BOX["rate"], range=LogRange(low=1e-4, high=1e-2)),
        replace(BOX["momentum"], range=OneMinusLogRange(low=0.8, high=0.99)),
        replace(BOX["dropout"], range=LogRange(low=0.1, high=0.4)),
        replace(BOX["width"], range=IntLogRange(low=20, high=60)),
        replace(BOX["depth"], range=IntRange(low=2, high=3), zero_share=0.0),
        replace(BOX["shift"], range=LinearRange(low=-0.3, high=0.7)),
        replace(BOX["flag"], range=Choices(values=(False,))),
    )
)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_narrowed_box_holds_every_proposal_whatever_lies_outside(sampler: str) -> None:
    n = 2 if sampler == "gp" else 12
    asked = [
        ask(sampler, box=NARROWED, declared=BOX, observations=history(40), running=({**each.hyperparameters},), index=i)
        for i, each in enumerate(history(n))
    ]
    for point in asked:
        assert NARROWED.contains(point)
        assert type(point["width"]) is int
        assert type(point["depth"]) is int
        assert ("momentum" in point) == (point["optimizer"] != "adamw")


WHOLE = pytest.mark.parametrize("sampler", sorted(WHOLE_SPACE_SAMPLERS))


@pytest.mark.parametrize("sampler", ["staged_gp", "policy"])
def test_zeros_that_are_left_are_proposed_and_those_that_are_not_are_never(sampler: str) -> None:
    def zeros_are_best(point: Hyperparameters) -> float:
        return float(point["dropout"] == 0) + float(point["depth"] == 0)

    known = tuple(replace(each, reward=zeros_are_best(each.hyperparameters)) for each in history(40))
    asked = [ask(sampler, box=NARROWED, declared=BOX, observations=known, index=index) for index in range(8)]
    assert sum(point["dropout"] == 0 for point in asked) >= 6
    assert all(point["depth"] in (2, 3) for point in asked)


@pytest.mark.parametrize("sampler", ["staged_gp", "policy"])
def test_trials_outside_the_box_teach_a_model_of_the_whole_space(sampler: str) -> None:
    """All known trials lie outside; they say that more is better, or less."""
    box = SearchSpace(dimensions=(dimension("rate", LogRange(low=1e-3, high=1e-2)),))

    def asked(sign: float) -> float:
        known = tuple(
            replace(each, reward=sign * RATE_ONLY["rate"].to_unit(each.hyperparameters["rate"])) for each in all_
        )
        points = [ask(sampler, box=box, declared=RATE_ONLY, observations=known, index=index) for index in range(8)]
        return float(np.median([box["rate"].to_unit(point["rate"]) for point in points]))

    all_ = tuple(each for each in history(30, box=RATE_ONLY) if not box.contains(each.hyperparameters))
    assert asked(1.0) > 0.75
    assert asked(-1.0) < 0.35
    others = [ask("tpe", box=box, declared=RATE_ONLY, observations=each) for each in (all_, ())]
    assert others[0] == others[1], "what is modelled within the box alone learns nothing from them"


@pytest.mark.parametrize("box", [BOX, NARROWED], ids=["declared", "narrowed"])
def test_the_mixed_sampler_asks_two_others_in_turns(box: SearchSpace) -> None:
    running = (history(41)[40].hyperparameters,)
    turns = []
    for index in range(8):
        mixed, by_model, by_policy = (
            ask(sampler, box=box, declared=BOX, observations=history(40), running=running, index=index)
            for sampler in ("mixed", "staged_gp", "policy")
        )
        assert by_model != by_policy
        assert mixed in (by_model, by_policy)
        turns.append(mixed == by_policy)
    assert [sum(turns[first : first + 2]) for first in range(0, 8, 2)] == [1, 1, 1, 1]


@WHOLE
def test_in_a_narrowed_box_the_order_of_the_trials_does_not_matter(sampler: str) -> None:
    known = history(30)
    points = [ask(sampler, box=NARROWED, declared=BOX, observations=each) for each in (known, known[::-1])]
    assert points[0] == points[1]


@WHOLE
def test_a_box_may_reach_beyond_the_declared_ranges(sampler: str) -> None:
    limits = LogRange(low=1e-7, high=10.0)
    declared = SearchSpace(dimensions=(replace(RATE_ONLY["rate"], limits=limits),))
    box = replace_ranges(declared, rate=LogRange(low=0.1, high=10.0))
    all_ = history(30, box=declared)
    known = tuple(replace(each, reward=RATE_ONLY["rate"].to_unit(each.hyperparameters["rate"])) for each in all_)
    rates = [float(ask(sampler, box=box, declared=declared, observations=known, index=i)["rate"]) for i in range(5)]
    assert all(0.1 <= rate <= 10.0 for rate in rates)
    assert max(rates) > 1.0


@pytest.mark.parametrize("sampler", ["staged_gp", "policy"])
def test_a_dimension_that_no_trial_had_is_drawn_from_the_box(sampler: str) -> None:
    """All known trials chose what makes the others inactive."""
    inner = Condition(name="kind", values=("a",))
    declared = SearchSpace(
        dimensions=(
            dimension("kind", Choices(values=("a", "b"))),
            dimension("nest", Choices(values=("x", "y", "z")), when=inner),
            dimension("share", LinearRange(low=0.0, high=1.0), when=inner),
            dimension("rate", LogRange(low=1e-5, high=1.0)),
        )
    )
    box = replace_ranges(declared, nest=Choices(values=("y",)), share=LinearRange(low=0.4, high=0.6))
    rates = [each.hyperparameters["rate"] for each in history(12, box=RATE_ONLY)]
    known = tuple(
        replace(each, hyperparameters={"kind": "b", "rate": rate})
        for each, rate in zip(history(12, box=RATE_ONLY), rates, strict=True)
    )
    points = [ask(sampler, box=box, declared=declared, observations=known, index=index) for index in range(16)]
    assert all(box.contains(point) for point in points)
    assert len({point["share"] for point in points if point["kind"] == "a"} - {0.4, 0.6}) >= 3


@pytest.mark.parametrize("sampler", ["staged_gp", "policy"])
def test_what_is_drawn_from_a_narrowed_box_is_even_over_its_values(
    sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing has been learned."""
    monkeypatch.setattr("search.samplers.staged_gp.EXPLORED_SHARE", 1.0)
    monkeypatch.setattr("search.samplers.policy.N_STEPS", 0)
    declared = SearchSpace(
        dimensions=(
            dimension("depth", IntRange(low=1, high=9)),
            dimension("width", IntLogRange(low=1, high=64)),
            dimension("kind", Choices(values=("a", "b", "c", "d"))),
        )
    )
    ranges = {"depth": IntRange(low=2, high=4), "width": IntLogRange(low=8, high=9), "kind": Choices(values=("a", "d"))}
    box = replace_ranges(declared, **ranges)
    known = history_of(declared, 12)
    points = [ask(sampler, box=box, declared=declared, observations=known, index=index) for index in range(150)]
    for name, n in (("depth", 3), ("width", 2), ("kind", 2)):
        counts = Counter(point[name] for point in points)
        assert len(counts) == n
        assert min(counts.values()) > 0.6 * 150 / n


@pytest.mark.parametrize("box", [RATE_ONLY, SINGLE], ids=["one dimension", "one choice left"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_small_boxes_work(sampler: str, box: SearchSpace) -> None:
    own = history(12, box=box, stage="fine")
    assert box.contains(ask(sampler, box=box, observations=own, index=12))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_box_of_choices_alone_works(sampler: str) -> None:
    known = tuple(
        Observation(number=i, stage="fine", hyperparameters={"flag": "abc"[i % 3]}, reward=float(i % 3))
        for i in range(12)
    )
    for observations in ((), known):
        assert CHOICES_ONLY.contains(ask(sampler, box=CHOICES_ONLY, observations=observations, index=12))


ZEROS = SearchSpace(
    dimensions=tuple(dimension(name, LogRange(low=0.01, high=0.8), zero_share=0.2) for name in ("dropout", "decay"))
)
OURS = pytest.mark.parametrize("sampler", ["staged_gp", "policy", "mixed", REFINE])


@OURS
def test_a_zero_that_is_best_is_not_tried_again_and_again(sampler: str) -> None:
    known: list[Observation] = []
    for number in range(22):
        point = ask(sampler, box=ZEROS, observations=tuple(known), index=number)
        reward = -sum(float(value) for value in point.values())
        known.append(Observation(number=number, stage="fine", hyperparameters=point, reward=reward))
    assert {"dropout": 0.0, "decay": 0.0} in [each.hyperparameters for each in known]
    assert len({tuple(each.hyperparameters.items()) for each in known}) == 22


@OURS
@pytest.mark.parametrize("diverged", [False, True], ids=["equal", "diverged"])
def test_what_tells_nothing_apart_is_no_obstacle(sampler: str, *, diverged: bool) -> None:
    known = tuple(
        Observation(number=number, stage="fine", hyperparameters=point, reward=0.0, diverged=diverged)
        for number, point in enumerate(ask("qmc", box=ZEROS, index=index) for index in range(12))
    )
    running: list[dict[str, Value]] = []
    for index in range(8):
        running.append(ask(sampler, box=ZEROS, observations=known, running=tuple(running), index=12 + index))
        assert ZEROS.contains(running[-1])
    everything = [*running, *(each.hyperparameters for each in known)]
    assert len({tuple(each.items()) for each in everything}) == 20


ZERO_OR_MORE = (
    dimension("rate", LogRange(low=1e-3, high=1.0), zero_share=0.3),
    dimension("depth", IntRange(low=2, high=6), zero_share=0.25),
    dimension("width", IntLogRange(low=4, high=40), zero_share=0.1),
)


@example([0.3, 0.85, 0.1])
@given(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3))
def test_coordinates_of_one_value_are_one_for_our_models(units: list[float]) -> None:
    snapped = view_coordinates(SearchSpace(dimensions=ZERO_OR_MORE)).snap(np.array([units]))[0]
    for each, unit, found in zip(ZERO_OR_MORE, units, snapped.tolist(), strict=True):
        value = each.from_unit(found)
        # On the border of two values' coordinates rounding decides which of them is meant.
        meant = [each.from_unit(min(max(unit + step, 0.0), 1.0)) for step in (-1e-9, 0.0, 1e-9)]
        assert any(value == pytest.approx(one, rel=1e-6) for one in meant)
        assert found == pytest.approx(each.to_unit(value) if each.is_integer or value == 0 else unit)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_equal_arguments_give_equal_proposals_in_any_order(sampler: str) -> None:
    own = tuple(Observation(**{**_fields(each), "stage": "fine"}) for each in history(25))
    running = (own[3].hyperparameters,)
    first = ask(sampler, observations=own, running=running, index=25)
    assert ask(sampler, observations=own[::-1], running=running, index=25) == first
    assert ask(sampler, observations=own, running=running, index=26, seed=1) != first


def asked_of_all() -> list[dict[str, Value]]:
    running = (history(21)[20].hyperparameters,)
    return [ask(sampler, observations=history(20), running=running, index=3) for sampler in SAMPLER_NAMES]


@pytest.mark.slow
def test_a_fresh_process_proposes_the_same() -> None:
    code = "import json, test_sampling\nprint(json.dumps(test_sampling.asked_of_all()))"
    paths = os.pathsep.join([os.path.dirname(__file__), os.getcwd()])  # noqa: PTH109, PTH120
    other_seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": other_seed}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
    assert json.loads(output) == asked_of_all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_diverged_trials_and_strangers_are_accepted(sampler: str) -> None:
    inside = history(14)
    diverged = Observation(
        number=50, stage="coarse", hyperparameters=inside[0].hyperparameters, reward=-1e6, diverged=True
    )
    outside = Observation(number=51, stage="coarse", hyperparameters={"rate": 50.0}, reward=9.0)
    with_stranger = ask(sampler, observations=(*inside, diverged, outside), running=({"rate": 50.0},), index=4)
    assert with_stranger == ask(sampler, observations=(*inside, diverged), index=4)


@pytest.mark.slow
@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_models_learn_where_it_is_good(sampler: str, direction: Direction) -> None:
    known = tuple(
        Observation(**{**_fields(each), "reward": direction.sign * each.reward}) for each in history(40, box=RATE_ONLY)
    )
    points = [ask(sampler, box=RATE_ONLY, observations=known, index=index, direction=direction) for index in range(5)]
    units = sorted(RATE_ONLY["rate"].to_unit(point["rate"]) for point in points)
    assert units[2] == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize("direction", list(Direction))
def test_evolution_closes_in_on_the_optimum(direction: Direction) -> None:
    box = SearchSpace(dimensions=(RATE_ONLY["rate"], dimension("shift", LinearRange(low=-1.0, high=1.0))))
    known: list[Observation] = []
    for number in range(60):
        point = ask("cmaes", box=box, observations=tuple(known), index=number, direction=direction)
        reward = quality(point) - (float(point["shift"]) - 0.3) ** 2
        known.append(Observation(number=number, stage="fine", hyperparameters=point, reward=direction.sign * reward))
    late = [direction.sign * each.reward for each in known[-12:]]
    early = [direction.sign * each.reward for each in known[:12]]
    assert sorted(late)[6] > max(0.97, sorted(early)[6])


def test_evolution_begins_where_earlier_stages_were_good() -> None:
    warm = [ask("cmaes", box=RATE_ONLY, observations=history(40, box=RATE_ONLY), index=i) for i in range(12)]
    cold = [ask("cmaes", box=RATE_ONLY, index=index) for index in range(12)]
    regret = [sorted(1.0 - quality(point) for point in points)[6] for points in (warm, cold)]
    assert regret[0] < regret[1]


def test_running_trials_keep_models_away() -> None:
    known = history(30, box=RATE_ONLY)
    free = ask("tpe", box=RATE_ONLY, observations=known)
    crowd = tuple({"rate": free["rate"]} for _ in range(20))
    held = ask("tpe", box=RATE_ONLY, observations=known, running=crowd)
    to_unit = RATE_ONLY["rate"].to_unit
    assert abs(to_unit(held["rate"]) - to_unit(free["rate"])) > 0.01


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_shares_of_zeros_and_choices_are_as_declared(sampler: str) -> None:
    n_points = 256
    points = [ask(sampler, index=index) for index in range(n_points)]
    tolerance = 0.03 if sampler == "qmc" else 0.11
    assert sum(point["dropout"] == 0.0 for point in points) / n_points == pytest.approx(0.3, abs=tolerance)
    assert sum(point["depth"] == 0 for point in points) / n_points == pytest.approx(0.2, abs=tolerance)
    for count in Counter(point["optimizer"] for point in points).values():
        assert count / n_points == pytest.approx(1 / 3, abs=tolerance)


@settings(max_examples=20)
@given(exponent=st.integers(1, 6), seed=st.integers(0, 2**31 - 1))
def test_quasi_random_points_are_stratified(exponent: int, seed: int) -> None:
    n_points = 2**exponent
    to_unit = RATE_ONLY["rate"].to_unit
    units = [to_unit(ask("qmc", box=RATE_ONLY, index=i, seed=seed)["rate"]) for i in range(n_points)]
    assert sorted(int(min(unit, 1 - 1e-12) * n_points) for unit in units) == list(range(n_points))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", MODEL_SAMPLERS)
def test_zero_stays_reachable_when_zeros_are_best(sampler: str) -> None:
    box = SearchSpace(dimensions=(BOX["rate"], BOX["dropout"]))
    known = tuple(
        Observation(**{**_fields(each), "reward": each.reward + (each.hyperparameters["dropout"] == 0.0)})
        for each in history(40, box=box)
    )
    points = [ask(sampler, box=box, observations=known, index=index) for index in range(8)]
    assert any(point["dropout"] == 0.0 for point in points)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_is_logged(sampler: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG, logger="optuna"):
        ask(sampler, observations=history(15), index=2)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_sampler_is_refused_with_the_name_that_is_close() -> None:
    with pytest.raises(StudyDefinitionError, match="Did you mean 'cmaes'"):
        ask("cma-es")


def _fields(observation: Observation) -> dict[str, object]:
    return {name: getattr(observation, name) for name in ("number", "stage", "hyperparameters", "reward", "diverged")}

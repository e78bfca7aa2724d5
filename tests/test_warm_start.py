"""What a study takes from before: the study file's entry, what is kept of earlier trials, and when it is asked."""

from __future__ import annotations

import functools
import math
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_study import MINIMAL, study
from test_bad_study_files import GOOD

from search.comparable_rewards import Observation
from search.errors import StudyDefinitionError
from search.past import MOST_KEPT, Past, PastObservation, PastTrial, StartingPoint, observed, starting_points
from search.record_codec import past_from_plain, past_to_plain
from search.sampling import near_past
from search.sampling.near_past import agreement
from search.search_space import Hyperparameters, SearchSpace, Value
from search.study_definition import Direction, StudyDefinition
from search.study_file import definition_from_plain, definition_to_plain, load_study_file, masked_warm_start
from search.warm_start_settings import PastSource, SourceKind, WarmStart

N_ASKED = 100
SPACE: dict[str, Any] = {
    "model.optimizer": {"choice": ["sgd", "adamw"]},
    "model.rate": {"log": [1e-6, 1.0], "limits": [1e-8, 10.0]},
    "model.momentum": {"one_minus_log": [0.5, 0.999], "when": {"model.optimizer": ["sgd"]}},
    "model.drop": {"linear": [0.1, 0.9], "or_zero": 0.1},
    "model.depth": {"int": [1, 9]},
}


def definition(n_first: int = 48, **changes: Any) -> StudyDefinition:
    stages = [
        {"name": "coarse", "n_trials": n_first, "max_epochs": 1},
        {"name": "fine", "n_trials": 8, "max_epochs": 2},
    ]
    return study(space=SPACE, stages=stages, **changes)


@functools.cache
def space() -> SearchSpace:
    return definition().space


@functools.cache
def points(n_points: int, *, seed: int = 1) -> list[dict[str, Value]]:
    """Points of the space, drawn evenly."""
    draw = random.Random(seed)
    return [space().from_units({name: draw.random() for name in space().names}) for _ in range(n_points)]


def quality(hyperparameters: Hyperparameters, *, best_rate: float = 1e-3) -> float:
    return -abs(math.log10(float(hyperparameters["model.rate"]) / best_rate)) - 0.1 * float(
        hyperparameters["model.drop"]
    )


# ---- the study file --------------------------------------------------------------------------------------------------


def test_a_warm_start_is_read_and_written() -> None:
    entry = {
        "configurations": [{"model.rate": 1, "model.drop": 0}, {"model.optimizer": "sgd", "model.momentum": 0.9}],
        "studies": ["old", {"study": "older", "storage": "old.journal"}, {"experiment": "runs", "tracking_uri": "x"}],
    }
    read = definition(warm_start=entry)
    assert read.warm_start == WarmStart(
        configurations=({"model.rate": 1.0, "model.drop": 0.0}, {"model.optimizer": "sgd", "model.momentum": 0.9}),
        sources=(
            PastSource(kind=SourceKind.STUDY, name="old"),
            PastSource(kind=SourceKind.STUDY, name="older", uri="old.journal"),
            PastSource(kind=SourceKind.EXPERIMENT, name="runs", uri="x"),
        ),
    )
    assert definition_from_plain(definition_to_plain(read)) == read
    assert definition(warm_start="none") == definition()


# (entry, key, line below `warm_start:`, value got, expectation or way out)
BAD = [
    ("configurations: []", "", 0, "neither", "configurations or studies"),
    ("configurations: [{model.depht: 3}]", ".configurations.0.model.depht", 1, "'model.depht'", "'model.depth'?"),
    ("configurations: [{model.lr: 3}]", ".configurations.0.model.lr", 1, "'model.lr'", "mean 'model.learning_rate'?"),
    ("configurations: [{model.depth: 3}, {model.depth: 7}]", ".configurations.1.model.depth", 1, "7", "[2, 6]"),
    ("configurations: [{model.depth: 3.5}]", ".configurations.0.model.depth", 1, "3.5", "an integer"),
    ("configurations: [{model.depth: three}]", ".configurations.0.model.depth", 1, "'three'", "a number"),
    ("configurations: [{model.depth: [3]}]", ".configurations.0.model.depth", 1, "[3]", "a finite number"),
    ("configurations: [{model.learning_rate: 11}]", ".configurations.0.model.learning_rate", 1, "11", "[1e-07, 10.0]"),
    ("configurations: [{model.dropout: 2}]", ".configurations.0.model.dropout", 1, "2", "or be 0"),
    ("configurations: [{model.optimizer: adam}]", ".configurations.0.model.optimizer", 1, "'adam'", "'adamw'"),
    ("configurations: [{model.momentum: 0.9}]", ".configurations.0.model.momentum", 1, "0.9", "needs model.optimizer"),
    (
        "configurations:\n    - {model.momentum: 0.9, model.optimizer: adamw}",
        ".configurations.0.model.momentum",
        2,
        "'adamw'",
        "only while model.optimizer is one of ['sgd']",
    ),
    ("configurations: [{}]", ".configurations.0", 1, "{}", "at least one entry"),
    (f"configurations: [{', '.join(9 * ['{model.depth: 3}'])}]", ".configurations", 1, "9", "at most as many"),
    ("studies: [{study: a, experiment: b}]", ".studies.0", 1, "study 'a' and experiment 'b'", "either study"),
    ("studies: [{storage: a.journal}]", ".studies.0", 1, "neither", "either study"),
    ("studies: [{study: a, tracking_uri: b}]", ".studies.0.tracking_uri", 1, "study", "by its storage"),
    ("studies: [{experiment: a, storage: b.journal}]", ".studies.0.storage", 1, "experiment", "by its tracking_uri"),
    ("studies: [{study: a, storage: b}]", ".studies.0.storage", 1, "'b'", "a journal file's path"),
    ("studies: [{stdy: a}]", ".studies.0.stdy", 1, "'a'", "Did you mean 'study'?"),
    ("studies: [3]", ".studies.0", 1, "3", "{study: digits}"),
    ("studies: ['']", ".studies.0", 1, "''", "not empty"),
]


@pytest.mark.parametrize(("entry", "key", "line", "got", "expected"), BAD)
def test_a_bad_warm_start_is_refused_with_its_place(
    tmp_path: Path, entry: str, key: str, line: int, got: str, expected: str
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"{GOOD}warm_start:\n  {entry}\n")
    with pytest.raises(StudyDefinitionError) as caught:
        load_study_file(file)
    text = str(caught.value)
    assert text.startswith(f"{file}:{GOOD.count(chr(10)) + 1 + line}: warm_start{key}"), text
    assert got in text
    assert expected in text


def test_passwords_of_earlier_stores_are_not_recorded() -> None:
    entry = {"studies": [{"study": "old", "storage": "postgresql://me:secret@host/optuna"}]}
    masked = masked_warm_start(definition(warm_start=entry).warm_start)
    assert masked is not None
    assert masked.sources[0].uri == "postgresql://me:***@host/optuna"


# ---- what is kept ----------------------------------------------------------------------------------------------------


def past_trials(n_trials: int, *, direction: Direction = Direction.MAXIMIZE) -> list[PastTrial]:
    return [
        PastTrial(hyperparameters=each, reward=direction.sign * quality(each), name=f"trial {number}")
        for number, each in enumerate(points(n_trials))
    ]


@given(
    rewards=st.lists(st.integers(-5, 5), min_size=1, max_size=300),
    direction=st.sampled_from(list(Direction)),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_only_ranks_are_kept_and_the_best(rewards: list[int], direction: Direction, scale: float) -> None:
    trials = [
        PastTrial(hyperparameters={"model.depth": 1 + n % 9}, reward=scale * reward + 3.0, name=str(n))
        for n, reward in enumerate(rewards)
    ]
    kept = observed(trials, space=space(), direction=direction, study="old")
    assert len(kept) == min(len(rewards), MOST_KEPT)
    qualities = [each.quality for each in kept]
    assert qualities == sorted(qualities, reverse=True)
    assert all(0.0 <= each <= 1.0 for each in qualities)
    best = max(direction.sign * reward for reward in rewards)
    assert direction.sign * rewards[int(kept[0].origin.removeprefix("old, "))] == best
    plain = [replace(each, reward=float(reward)) for each, reward in zip(trials, rewards, strict=True)]
    assert observed(plain, space=space(), direction=direction, study="old") == kept


def test_of_very_many_the_best_are_kept_and_others_of_all_ranks() -> None:
    trials = [PastTrial(hyperparameters={"model.depth": 1 + n % 9}, reward=float(n), name=str(n)) for n in range(960)]
    qualities = [each.quality for each in observed(trials, space=space(), direction=Direction.MAXIMIZE, study="old")]
    assert qualities[:32] == pytest.approx([1.0 - n / 959 for n in range(32)])
    assert max(better - worse for better, worse in pairwise(qualities)) < 0.02
    assert qualities[-1] < 0.02


def test_of_an_overlapping_space_the_common_part_is_kept_and_what_lies_beyond_the_limits_is_not() -> None:
    told = [
        {"model.rate": "0.001", "model.depth": "3", "model.other": "x"},  # as MLflow has them
        {"model.optimizer": "adamw", "model.momentum": 0.9, "model.depth": 4.0},
        {"model.optimizer": "adam", "model.depth": 4},  # no choice here
        {"model.depth": 99},
        {"model.rate": "auto"},
        {"other": 1},
        {"model.momentum": 0.9},  # active or not, nobody knows
    ]
    trials = [PastTrial(hyperparameters=each, reward=1.0, name=str(n)) for n, each in enumerate(told)]
    kept = observed(trials, space=space(), direction=Direction.MAXIMIZE, study="old")
    assert [each.hyperparameters for each in kept] == [
        {"model.rate": 1e-3, "model.depth": 3},
        {"model.optimizer": "adamw", "model.depth": 4},
    ]


def test_a_configuration_list_comes_first_then_the_best_of_earlier_studies_without_repeats() -> None:
    listed = {"configurations": [{"model.depth": 5}], "studies": ["old"]}
    asked = definition(48, warm_start=listed)
    kept = [
        observed(past_trials(40), space=asked.space, direction=Direction.MAXIMIZE, study=name) for name in ("a", "b")
    ]
    found = starting_points(asked, kept)
    assert [each.origin for each in found[:2]] == ["configuration 1", kept[0][0].origin]
    assert len(found) == 6
    assert len({tuple(each.hyperparameters.items()) for each in found}) == 6, "the second study's are the same"
    assert [len(starting_points(definition(n), kept)) for n in (1, 8, 24, 4000)] == [1, 1, 3, 5]
    assert len(starting_points(definition(1, warm_start=listed), kept)) == 1
    assert starting_points(definition(), []) == ()


def test_only_the_better_half_is_tried_again_and_of_it_what_may_be_best() -> None:
    trials = past_trials(6)
    kept = observed(trials, space=space(), direction=Direction.MAXIMIZE, study="old")
    assert [each.origin for each in starting_points(definition(), [kept])] == [each.origin for each in kept[:3]]
    best = max(trials, key=lambda each: each.reward)
    flagged = [replace(each, may_be_best=each is not best) for each in trials]
    kept = observed(flagged, space=space(), direction=Direction.MAXIMIZE, study="old")
    assert len(kept) == 6, "it is evidence like any other"
    assert [each.origin for each in starting_points(definition(), [kept])] == [each.origin for each in kept[1:3]]
    alone = observed(trials[:1], space=space(), direction=Direction.MAXIMIZE, study="old")
    assert len(starting_points(definition(), [alone])) == 1


def test_what_has_no_place_here_still_says_how_good_the_others_were() -> None:
    lost = [
        PastTrial(hyperparameters={"model.rate": 1e-3, "model.optimizer": "lion"}, reward=0.9, name=f"trial {n}")
        for n in range(6)
    ]
    fit = [PastTrial(hyperparameters={"model.depth": n}, reward=0.01 * n, name=f"trial {5 + n}") for n in (3, 2, 1)]
    found = observed([*lost, *fit], space=space(), direction=Direction.MAXIMIZE, study="old")
    assert [each.quality for each in found] == [2 / 8, 1 / 8, 0.0]
    assert starting_points(definition(), [found]) == ()


def test_what_is_kept_is_stored_in_parts_and_read_back() -> None:
    told = [replace(each, may_be_best=number % 2 == 0) for number, each in enumerate(past_trials(200))]
    kept = observed(told, space=space(), direction=Direction.MAXIMIZE, study="old")
    assert {each.may_be_best for each in kept} == {True, False}
    past = Past(starting_points=(StartingPoint(hyperparameters={"model.depth": 2}, origin="x"),), studies=(kept, kept))
    parts = past_to_plain(past)
    assert past_from_plain(parts) == past
    assert max(len(str(part)) for part in parts.values()) < 60_000, "a TEXT of MySQL"
    assert past_to_plain(Past()) == {}
    assert past_from_plain({}) == Past()


# ---- when it is asked ------------------------------------------------------------------------------------------------


def observations(n_trials: int, *, best_rate: float = 1e-3, sign: float = 1.0) -> list[Observation]:
    return [
        Observation(
            number=number, stage="coarse", hyperparameters=each, reward=sign * quality(each, best_rate=best_rate)
        )
        for number, each in enumerate(points(n_trials, seed=2))
    ]


def asked(
    past: tuple[PastObservation, ...],
    known: list[Observation],
    *,
    number: int,
    box: SearchSpace | None = None,
    n_asked: int = N_ASKED,
) -> list[tuple[dict[str, Value], str]]:
    """What so many trials would be, as far as they are near the past, all with the same proposal."""
    proposal: dict[str, Value] = {"model.optimizer": "adamw", "model.rate": 1.0, "model.drop": 0.9, "model.depth": 9}
    found = (
        near_past(
            proposal,
            studies=(past,),
            observations=lambda: known,
            direction=Direction.MAXIMIZE,
            declared=space(),
            box=box or space(),
            number=number,
            trial_seed=seed,
        )
        for seed in range(n_asked)
    )
    return [each for each in found if each is not None]


@functools.cache
def kept(n_trials: int = 60, *, sign: float = 1.0) -> tuple[PastObservation, ...]:
    trials = [replace(each, reward=sign * each.reward) for each in past_trials(n_trials)]
    return observed(trials, space=space(), direction=Direction.MAXIMIZE, study="old")


def test_a_past_that_agrees_is_asked_often_at_first_and_less_and_less() -> None:
    counts = [len(asked(kept(), observations(16), number=number)) for number in (0, 16, 100, 1000)]
    assert counts[0] > 0.3 * N_ASKED, counts
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] <= 0.03 * N_ASKED


def test_its_points_lie_near_good_ones_inside_the_box_and_say_so() -> None:
    rate = space()["model.rate"]
    small = replace(rate, range=rate.range.with_bounds(1e-4, 1e-1))  # type: ignore[union-attr]
    box = SearchSpace(dimensions=tuple(small if each.name == rate.name else each for each in space()))
    found = asked(kept(), observations(16), number=0, box=box)
    assert len(found) > 20
    origins = {each.origin: each.hyperparameters for each in kept() if each.quality >= 0.8}
    for point, origin in found:
        assert box.contains(point)
        near = origins[origin.removeprefix("near ")]
        assert point["model.optimizer"] == near["model.optimizer"]
        assert abs(float(point["model.depth"]) - float(near["model.depth"])) <= 5
    assert len({tuple(point.items()) for point, _ in found}) > 15
    again = [asked(kept(), observations(16)[::-1], number=0, box=box)]
    assert again == [found], "the order of what is known does not matter"


@pytest.mark.parametrize("n_known", [0, 7])
def test_before_anything_is_known_it_is_not_asked(n_known: int) -> None:
    assert not asked(kept(), observations(n_known), number=n_known)


def test_a_past_of_other_dimensions_leaves_them_to_the_sampler() -> None:
    part = tuple(replace(each, hyperparameters={"model.rate": each.hyperparameters["model.rate"]}) for each in kept())
    found = asked(part, observations(16), number=0)
    assert found
    for point, _ in found:
        assert (point["model.optimizer"], point["model.drop"], point["model.depth"]) == ("adamw", 0.9, 9)
        assert point["model.rate"] != 1.0


@pytest.mark.parametrize("direction", list(Direction))
def test_a_past_agrees_with_what_it_predicts_and_hardly_ever_by_chance(direction: Direction) -> None:
    known = observations(17, sign=direction.sign)
    assert agreement(kept(), known, direction=direction, space=space()) > 0.2
    n_agreeing = 0
    for seed in range(120):
        draw = random.Random(seed)
        shuffled = [replace(each, quality=draw.random()) for each in kept()]
        n_agreeing += agreement(shuffled, known, direction=direction, space=space()) > 0.0
    assert n_agreeing < 0.35 * 120, "half of them, if chance counted"


@pytest.mark.slow
def test_a_past_that_misleads_is_hardly_ever_asked() -> None:
    inverted, by_chance, constant = 0, 0, 0
    for seed in range(20):
        draw = random.Random(seed)
        known = [replace(each, reward=each.reward + draw.gauss(0.0, 0.3)) for each in observations(24)]
        shuffled = [replace(each, quality=draw.random()) for each in kept()]
        inverted += len(asked(kept(sign=-1.0), known, number=0, n_asked=20))
        by_chance += len(asked(tuple(shuffled), known, number=0, n_asked=20))
        constant += len(asked(tuple(replace(each, quality=0.5) for each in kept()), known, number=0, n_asked=20))
    assert inverted == 0
    assert constant == 0
    assert by_chance < 0.05 * 20 * 20


def test_without_earlier_studies_nothing_is_looked_up() -> None:
    def never() -> list[Observation]:
        raise AssertionError("asked")

    for seed in range(20):
        assert (
            near_past(
                {},
                studies=(),
                observations=never,
                direction=Direction.MAXIMIZE,
                declared=space(),
                box=space(),
                number=0,
                trial_seed=seed,
            )
            is None
        )


def test_the_minimal_study_has_no_warm_start() -> None:
    assert definition_from_plain(MINIMAL).warm_start is None

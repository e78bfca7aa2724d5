"""The last verdict: where the best trials of a search that has ended crowd at an edge of its ranges."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_study import BELL
from recorded_studies import RecordedStudies, call
from reported_studies import text_of
from small_spaces import dimension, space
from study_runs import run_session
from virtual_engine import KilledError, VirtualEngine

from search.cli.best import best_plain
from search.cli.formats import strict_json
from search.cli.result_story import result_story
from search.cli.status import status_plain
from search.comparable_rewards import Observation
from search.messages import EpochReport
from search.narrowing import crowded_edges
from search.narrowing.edges import edge_crowding
from search.narrowing.evidence import ranked
from search.paths import StateDirectory
from search.record_codec import result_from_plain, result_to_plain
from search.search_space import (
    Choices,
    Condition,
    Hyperparameters,
    IntRange,
    LinearRange,
    LogRange,
    NumericRange,
    OneMinusLogRange,
    SearchSpace,
)
from search.studies_api import read_study
from search.study_definition import Direction, StudyDefinition
from search.study_file import definition_from_plain
from search.study_record import CrowdedEdge, StudyRecord
from search.tracking.study_note import result_note

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE
RATE = LogRange(low=1e-5, high=1e-1)
KINDS: tuple[NumericRange, ...] = (
    RATE,
    LinearRange(low=-1.0, high=3.0),
    OneMinusLogRange(low=0.5, high=0.999),
    IntRange(low=2, high=40),
)


def trials(
    box: SearchSpace, reward: Callable[[Hyperparameters], float], *, n: int = 48, seed: int = 0
) -> list[Observation]:
    """Points that are random, but evenly spread in each dimension; NaN as reward means diverged."""
    rng = np.random.default_rng(seed)
    units = (np.array([rng.permutation(n) for _ in box.names]) + rng.random((len(box), n))) / n
    points = [box.from_units(dict(zip(box.names, column, strict=True))) for column in units.T.tolist()]
    rewards = [reward(point) for point in points]
    return [
        Observation(
            number=number,
            stage="fine",
            hyperparameters=point,
            reward=-1e3 if math.isnan(value) else value,
            diverged=math.isnan(value),
        )
        for number, (point, value) in enumerate(zip(points, rewards, strict=True))
    ]


def bowl(box: SearchSpace, centre: float, *, name: str = "x") -> Callable[[Hyperparameters], float]:
    """Best where the dimension's unit coordinate is `centre`, which may lie beyond 0 or 1; worst where inactive."""
    return lambda point: -((box[name].to_unit(point[name]) - centre) ** 2) if name in point else -9.0


# ---- what is accused -------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    centre=st.floats(1.1, 2.0),
    is_lower=st.booleans(),
    n=st.integers(40, 80),
    seed=st.integers(0, 10**6),
)
def test_an_optimum_beyond_the_limit_is_always_caught(
    kind: NumericRange, centre: float, *, is_lower: bool, n: int, seed: int
) -> None:
    box = space(dimension(kind))
    known = trials(box, bowl(box, 1.0 - centre if is_lower else centre), n=n, seed=seed)
    (edge,) = crowded_edges(known, box, direction=UP)
    assert edge.name == "x" and edge.is_hard_limit
    assert (edge.is_lower, edge.bound) == ((True, kind.low) if is_lower else (False, kind.high))
    assert edge.figures["edge_p_value"] < 0.05


def test_an_optimum_in_the_middle_and_a_dimension_that_does_not_matter_are_rarely_accused() -> None:
    box = space(dimension(RATE), dimension(RATE, name="idle"))
    accused = [
        edge.name
        for seed in range(200)
        for edge in crowded_edges(trials(box, bowl(box, 0.5), seed=seed), box, direction=UP)
    ]
    assert "x" not in accused
    assert accused.count("idle") <= 0.03 * 200


@pytest.mark.slow
@pytest.mark.parametrize("is_lower", [False, True])
def test_an_optimum_inside_the_range_is_accused_the_less_the_more_trials_there_are(*, is_lower: bool) -> None:
    box = space(dimension(RATE))
    for centre, n, n_least, n_most in ((0.8, 200, 0, 1), (0.85, 400, 0, 2), (1.0, 60, 16, 20), (1.3, 60, 18, 20)):
        n_accused = 0
        for seed in range(20):
            rng = np.random.default_rng(seed)
            slope = bowl(box, 1.0 - centre if is_lower else centre)
            known = trials(box, lambda point: slope(point) + rng.normal(0.0, 0.03), n=n, seed=seed)  # noqa: B023
            n_accused += bool(crowded_edges(known, box, direction=UP))
        assert n_least <= n_accused <= n_most, (centre, n)


def test_a_samplers_crowd_in_a_dimension_that_does_not_matter_is_no_evidence() -> None:
    """Later trials are better for their `x`, and happen to lie at the top of `idle`."""
    box = space(dimension(RATE), dimension(RATE, name="idle"))
    n_crowded = n_accused = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        spread = trials(box, bowl(box, 0.5), n=20, seed=seed)
        points = [
            {"x": RATE.unscale(rng.normal(-3.0, 0.1)), "idle": RATE.unscale(rng.uniform(-1.8, -1.0))} for _ in range(20)
        ]
        noisy = [bowl(box, 0.5)(each) + rng.normal(0.0, 0.003) for each in points]
        later = [
            Observation(number=20 + index, stage="fine", hyperparameters=point, reward=reward)
            for index, (point, reward) in enumerate(zip(points, noisy, strict=True))
        ]
        known = [*spread, *later]
        n_crowded += edge_crowding(ranked(known, UP), box["idle"]).side == 1
        n_accused += "idle" in {each.name for each in crowded_edges(known, box, direction=UP)}
    assert n_crowded >= 20, "else the test of the edges alone would do"
    assert n_accused <= 2


@given(seed=st.integers(0, 10**6), shift=st.floats(-5.0, 5.0), order=st.randoms())
def test_only_the_order_of_the_rewards_counts_and_no_other_one(seed: int, shift: float, order: Any) -> None:
    box = space(dimension(RATE), dimension(KINDS[1], name="y"))
    known = trials(box, bowl(box, 1.0), seed=seed)
    found = crowded_edges(known, box, direction=UP)
    moved = [replace(each, reward=math.exp(each.reward + shift)) for each in known]
    order.shuffle(moved)
    assert crowded_edges(moved, box, direction=UP) == found
    turned = [replace(each, reward=-each.reward) for each in known]
    assert crowded_edges(turned, box, direction=DOWN) == found


def test_the_test_is_that_of_the_last_ranges_whose_end_need_not_be_the_limit() -> None:
    box = space(dimension(RATE, LogRange(low=1e-6, high=1.0)))
    known = trials(box, bowl(box, 1.2))
    (edge,) = crowded_edges(known, box, direction=UP)
    assert (edge.bound, edge.is_hard_limit) == (0.1, False)
    earlier = [replace(each, number=each.number + 100, hyperparameters={"x": 0.5}, reward=9.0) for each in known]
    assert crowded_edges([*known, *earlier], box, direction=UP) == (edge,)  # they lie outside the last ranges


def test_too_few_trials_say_nothing() -> None:
    box = space(dimension(RATE))
    assert crowded_edges((), box, direction=UP) == ()
    assert crowded_edges(trials(box, bowl(box, 1.5), n=11), box, direction=UP) == ()
    diverged = trials(box, lambda point: math.nan)
    assert crowded_edges(diverged, box, direction=UP) == ()


def test_choices_are_left_alone() -> None:
    kinds = Choices(values=("sgd", "adamw"))
    box = space(dimension(kinds, name="kind"), dimension(RATE))
    known = trials(box, lambda point: float(point["kind"] == "adamw") + bowl(box, 0.5)(point))
    assert crowded_edges(known, box, direction=UP) == ()


def test_a_conditional_dimension_is_judged_by_the_trials_in_which_it_was_active() -> None:
    kinds = Choices(values=("sgd", "adamw"))
    when = Condition(name="kind", values=("sgd",))
    box = space(dimension(kinds, name="kind"), dimension(RATE, when=when))
    known = trials(box, bowl(box, 1.2), n=60)
    assert any("x" not in each.hyperparameters for each in known)
    (edge,) = crowded_edges(known, box, direction=UP)
    assert edge.name == "x"
    active = [each for each in known if "x" in each.hyperparameters]
    assert crowded_edges(active, box, direction=UP) == (edge,)
    few = [*(each for each in known if "x" not in each.hyperparameters), *active[:11]]
    assert crowded_edges(few, box, direction=UP) == ()


def test_an_or_zero_range_is_judged_by_the_trials_that_were_not_zero() -> None:
    box = space(dimension(RATE, zero_share=0.4))
    at_top = bowl(space(dimension(RATE)), 1.2)
    known = trials(box, lambda point: 9.0 if point["x"] == 0.0 else at_top(point), n=80)
    assert any(each.hyperparameters["x"] == 0.0 for each in known)
    (edge,) = crowded_edges(known, box, direction=UP)
    assert not edge.is_lower
    off_zero = [each for each in known if each.hyperparameters["x"] != 0.0]
    assert crowded_edges(off_zero, box, direction=UP) == (edge,)


def test_what_lies_between_zero_and_a_range_is_no_accusation() -> None:
    without = space(dimension(RATE))
    known = trials(without, bowl(without, -0.2), n=80)
    (edge,) = crowded_edges(known, without, direction=UP)
    assert edge.is_lower
    assert crowded_edges(known, space(dimension(RATE, zero_share=0.1)), direction=UP) == ()


@pytest.mark.parametrize(
    ("range_", "is_lower", "is_accused"),
    [
        (LinearRange(low=-1.0, high=3.0), True, True),
        (LinearRange(low=-1.0, high=3.0), False, True),
        (LinearRange(low=-2.0, high=-1.0), True, True),
        (LinearRange(low=-2.0, high=-1.0), False, False),
        (LinearRange(low=0.0, high=1.0), True, False),
        (LinearRange(low=0.0, high=1.0), False, True),
        (IntRange(low=-40, high=-2), True, True),
        (IntRange(low=-40, high=-2), False, False),
    ],
)
def test_only_an_edge_that_faces_the_extra_zero_is_no_accusation(
    range_: NumericRange, *, is_lower: bool, is_accused: bool
) -> None:
    without = space(dimension(range_))
    known = trials(without, bowl(without, -0.4 if is_lower else 1.4), n=80)
    (edge,) = crowded_edges(known, without, direction=UP)
    assert edge.is_lower is is_lower
    found = crowded_edges(known, space(dimension(range_, zero_share=0.1)), direction=UP)
    assert [each.is_lower for each in found] == [is_lower] * is_accused


# ---- what is said ----------------------------------------------------------------------------------------------------


def test_the_advice_depends_on_whether_the_edge_is_the_hard_limit() -> None:
    at_limit, inside = space(dimension(RATE)), space(dimension(RATE, LogRange(low=1e-6, high=1.0)))
    known = trials(at_limit, bowl(at_limit, 1.2))
    (first,) = crowded_edges(known, at_limit, direction=UP)
    (second,) = crowded_edges(known, inside, direction=UP)
    n_best, p_value = first.figures["n_at_edge"], first.figures["edge_p_value"]
    found = f"({n_best:.0f} of the best lie there, p = {p_value:.2g}): the optimum may lie beyond; "
    assert first.reason == (
        f"the best trials crowd at the upper hard limit 0.1 of x {found}if values beyond make sense, widen its limits "
        "and search again"
    )
    assert second.reason == (
        f"the best trials crowd at the upper end 0.1 of x {found}a further stage may move it outwards, as far as the "
        "hard limit 1, or search again in a wider range"
    )


def an_edge(number: int = 0) -> CrowdedEdge:
    return CrowdedEdge(
        name=f"model.parameter_{number}",
        is_lower=False,
        bound=0.1,
        is_hard_limit=True,
        reason=f"the best trials crowd at the upper hard limit 0.1 of model.parameter_{number}",
        figures={"n_at_edge": 9.0, "edge_p_value": 0.001, "worse_inside": 1.0},
    )


def test_a_result_with_the_verdict_is_read_again_and_so_is_one_of_earlier_versions(finished: StudyRecord) -> None:
    assert finished.result is not None
    told = replace(finished.result, crowded_edges=(an_edge(),))
    plain = json.loads(json.dumps(result_to_plain(told)))
    assert result_from_plain(plain).crowded_edges == (an_edge(),)
    del plain["crowded_edges"]
    assert result_from_plain(plain).crowded_edges == ()


def test_every_look_at_a_result_tells_it_and_none_without(
    studies: RecordedStudies, record: StudyRecord, finished: StudyRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finished.result is not None
    told = replace(finished, result=replace(finished.result, crowded_edges=(an_edge(),)))
    shown = {}
    for name, each in {"under way": record, "without": finished, "told": told}.items():
        studies.records["digits"] = each
        for command in ("best", "status", "ranges"):
            assert call(studies, command, "digits") == 0
            shown[name, command] = capsys.readouterr().out
        shown[name, "run"] = text_of(result_story(each, width=80))
        for command, plain in {"best": best_plain(each), "status": status_plain(each)}.items():
            assert plain is not None
            shown[name, f"{command} JSON"] = strict_json(plain["crowded_edges"])
    for (name, command), text in shown.items():
        assert (an_edge().reason in " ".join(text.split())) is (name == "told"), command
        if command.endswith("JSON"):
            assert (json.loads(text) is None) is (name == "under way")


def test_the_studys_note_tells_some_and_counts_the_others(finished: StudyRecord) -> None:
    assert finished.result is not None
    one = replace(finished.result, crowded_edges=(an_edge(),))
    assert f"T{an_edge().reason[1:]}.\n" in result_note(finished, one)
    many = replace(finished.result, crowded_edges=tuple(map(an_edge, range(9))))
    note = result_note(finished, many)
    assert note.count("The best trials crowd") == 5 and "at 4 more edges" in note
    assert "crowd" not in result_note(finished, finished.result)


# ---- in a study ------------------------------------------------------------------------------------------------------

# The bell is best at 1e-3, beyond the hard limit; the rule `none` moves nothing, and nobody else would tell.
CUT_OFF: Mapping[str, Any] = {
    **BELL,
    "space": {"model.learning_rate": {"log": [1.0e-6, 1.0e-4], "limits": [1.0e-6, 1.0e-4]}},
    "stages": [
        {"name": "coarse", "n_trials": 8, "max_epochs": 1, "sampler": "qmc"},
        {"name": "fine", "n_trials": 24, "max_epochs": 2, "sampler": "tpe"},
    ],
    "finish": {"top_k": 2, "n_seeds": 2},
}


def cut_off(rule: str) -> StudyDefinition:
    return definition_from_plain({**CUT_OFF, "narrow": rule})


@pytest.mark.parametrize("rule", ["none", "posterior"])
@pytest.mark.usefixtures("untracked")
def test_a_study_whose_optimum_lies_beyond_its_limits_says_so(tmp_path: Path, rule: str) -> None:
    record = run_session(StateDirectory(root=tmp_path), VirtualEngine(), cut_off(rule))
    assert record.result is not None
    (edge,) = record.result.crowded_edges
    assert (edge.name, edge.is_lower, edge.bound, edge.is_hard_limit) == ("model.learning_rate", False, 1e-4, True)
    assert "upper hard limit 0.0001 of model.learning_rate" in " ".join(text_of(result_story(record, width=80)).split())
    assert read_study("bell", directory=StateDirectory(root=tmp_path)).result == record.result


@pytest.mark.usefixtures("untracked")
def test_a_study_killed_in_its_finish_comes_to_the_same_verdict(tmp_path: Path) -> None:
    whole, killed = StateDirectory(root=tmp_path / "whole"), StateDirectory(root=tmp_path / "killed")
    record = run_session(whole, VirtualEngine(), cut_off("posterior"))

    def die(report: EpochReport) -> None:
        if report.trial_key.startswith("refit"):
            raise KilledError

    checkpoints: dict[str, int] = {}
    with pytest.raises(KilledError):
        run_session(killed, VirtualEngine(checkpoints=checkpoints, on_epoch=die), cut_off("posterior"))
    resumed = run_session(killed, VirtualEngine(checkpoints=checkpoints), cut_off("posterior"))
    assert record.result is not None and resumed.result is not None
    assert resumed.result.crowded_edges == record.result.crowded_edges != ()


@pytest.mark.usefixtures("untracked")
def test_a_study_whose_optimum_lies_in_the_middle_says_nothing(tmp_path: Path) -> None:
    inside = {**CUT_OFF, "space": {"model.learning_rate": {"log": [1.0e-5, 1.0e-1]}}}
    record = run_session(StateDirectory(root=tmp_path), VirtualEngine(), definition_from_plain(inside))
    assert record.result is not None and record.result.crowded_edges == ()

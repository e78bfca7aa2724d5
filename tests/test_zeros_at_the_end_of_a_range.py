"""`or_zero` beside a range that holds 0 itself, at one of its ends."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from small_spaces import dimension, space
from suggestions import suggestion

from search.comparable_rewards import Observation
from search.sampling.optuna_view import view_coordinates
from search.search_space import Hyperparameters, IntLogRange, IntRange, LinearRange, Range, SearchSpace

OURS = pytest.mark.parametrize("sampler", ["staged_gp", "policy", "mixed"])
RATE = dimension(LinearRange(low=0.0, high=1.0), name="rate")


def space_of(range_: Range, limits: Range, *, zero_share: float) -> SearchSpace:
    return space(dimension(range_, limits, name="shift", zero_share=zero_share), RATE)


def searched(sampler: str, box: SearchSpace, declared: SearchSpace, *, best: float, n: int) -> list[Hyperparameters]:
    """Return what a sampler proposes after thirty random trials, each learned from before the next."""
    points: list[Hyperparameters] = [suggestion("random", box=declared, index=index) for index in range(30)]
    for index in range(n):
        known = [
            Observation(number=number, stage="coarse", hyperparameters=each, reward=_reward(each, best))
            for number, each in enumerate(points)
        ]
        found = suggestion(
            sampler, box=box, observations=known, stage_seed=7, trial_seed=1000 + index, index=index, declared=declared
        )
        points.append(found)
    return points[30:]


def _reward(point: Hyperparameters, best: float) -> float:
    return -abs(float(point["shift"]) - best) - 0.3 * abs(float(point["rate"]) - 0.3)


@OURS
@pytest.mark.parametrize(
    ("range_", "limits", "best"),
    [
        (IntRange(low=-6, high=0), IntRange(low=-12, high=0), -4.0),
        (IntRange(low=-6, high=0), IntRange(low=-12, high=3), -4.0),
        (LinearRange(low=-6.0, high=0.0), LinearRange(low=-12.0, high=0.0), -4.0),
        (LinearRange(low=-6.0, high=0.0), LinearRange(low=-12.0, high=3.0), -4.0),
        (LinearRange(low=0.0, high=6.0), LinearRange(low=0.0, high=12.0), 4.0),
    ],
)
def test_a_narrowed_range_with_zero_at_its_end_is_searched_all_the_same(
    sampler: str, range_: Range, limits: Range, best: float
) -> None:
    declared = space_of(limits, limits, zero_share=0.3)
    box = space_of(range_, limits, zero_share=0.3)
    asked = searched(sampler, box, declared, best=best, n=12)
    assert all(box.contains(each) for each in asked)
    assert sum(abs(float(each["shift"]) - best) <= 1.5 for each in asked) >= 8


@OURS
def test_zero_at_the_upper_end_is_not_asked_for_again_and_again(sampler: str) -> None:
    range_ = LinearRange(low=-1.0, high=0.0)
    box = space_of(range_, range_, zero_share=0.1)
    asked = searched(sampler, box, box, best=-0.1, n=16)
    assert sum(each["shift"] == 0 for each in asked) <= 3
    assert max(-abs(float(each["shift"]) + 0.1) for each in asked) > -0.02


def test_the_upper_end_and_the_extra_zero_have_one_coordinate() -> None:
    range_ = LinearRange(low=-1.0, high=0.0)
    coordinates = view_coordinates(space_of(range_, range_, zero_share=0.2))
    snapped = coordinates.snap(np.array([[1.0, 0.5], [0.05, 0.5], [0.9, 0.5]]))[:, coordinates.names.index("shift")]
    assert snapped.tolist() == pytest.approx([0.1, 0.1, 0.9])


@pytest.mark.parametrize("range_", [IntRange(low=1, high=10**12), IntLogRange(low=1, high=10**12)])
def test_a_zero_beside_any_number_of_integers_costs_no_more(range_: Range) -> None:
    declared = space_of(range_, range_, zero_share=0.2)
    column = view_coordinates(declared).names.index("shift")
    for value in (0, 1, 2, 10**9 + 7, 10**12):
        unit = np.full((1, 2), 0.5)
        unit[0, column] = declared["shift"].to_unit(value)
        assert declared["shift"].from_unit(view_coordinates(declared).snap(unit)[0, column]) == value
    assert all(declared.contains(each) for each in searched("staged_gp", declared, declared, best=100.0, n=2))


@pytest.mark.parametrize("sampler", ["staged_gp", "policy"])
def test_integers_beside_a_zero_are_drawn_evenly_from_a_narrowed_range(
    sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing has been learned."""
    monkeypatch.setattr("search.samplers.staged_gp.EXPLORED_SHARE", 1.0)
    monkeypatch.setattr("search.samplers.policy.N_STEPS", 0)
    declared = space_of(IntRange(low=1, high=12), IntRange(low=1, high=12), zero_share=0.2)
    box = space_of(IntRange(low=3, high=5), IntRange(low=1, high=12), zero_share=0.0)
    drawn = [suggestion("random", box=declared, index=index) for index in range(12)]
    known = [
        Observation(number=number, stage="coarse", hyperparameters=each, reward=0.0)
        for number, each in enumerate(drawn)
    ]
    points = [suggestion(sampler, box=box, observations=known, index=index, declared=declared) for index in range(240)]
    counts = Counter(each["shift"] for each in points)
    assert set(counts) == {3, 4, 5}
    assert min(counts.values()) > 0.75 * 240 / 3

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measured_trials import TWO, at, measured, objective

from search.preference import Worth, worth_of
from search.reward import pareto_front
from search.study_definition import Ensemble, FinishSettings, Objective, Winner
from search.trial import Score

COMPROMISE = FinishSettings(top_k=1, n_seeds=1, ensemble=Ensemble.NONE, winner=Winner.COMPROMISE)
FIRST = FinishSettings(top_k=1, n_seeds=1, ensemble=Ensemble.NONE)


def scores(*points: tuple[float, float], of: Objective = TWO) -> list[Score]:
    found = [measured(number, at(*point), of=of).score for number, point in enumerate(points)]
    return [score for score in found if score is not None]


def compromise(front: list[Score]) -> Worth:
    return worth_of(TWO, COMPROMISE, front=front)


def test_a_compromise_is_nearest_to_the_best_of_all() -> None:
    front = scores((0.9, 0.30), (0.85, 0.08), (0.5, 0.0))
    worth = compromise(front)
    assert sorted(front, key=worth)[-1] == front[1]
    assert sorted(front, key=worth_of(TWO, FIRST, front=front))[-1] == front[0]
    (ideal,) = scores((0.9, 0.0))
    assert worth(ideal) == 0.0


def test_what_seeds_make_better_than_the_ideal_is_no_distance() -> None:
    worth = compromise(scores((0.99, 0.05), (0.95, 0.01), (0.97, 0.02)))
    better, worse = scores((0.98, -0.05), (0.97, 0.01))
    assert worth(better) > worth(worse), "it is better in both objectives"


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12), st.floats(0.1, 9), st.floats(-1, 1)
)
def test_the_choice_does_not_depend_on_the_units(points: list[tuple[float, float]], unit: float, origin: float) -> None:
    points = [(round(accuracy, 3), round(gap, 3)) for accuracy, gap in points]
    own, other = scores(*points), scores(*((accuracy, origin + unit * gap) for accuracy, gap in points))
    on_front = pareto_front(own, TWO)
    front, moved = [own[index] for index in on_front], [other[index] for index in on_front]
    one, two = compromise(front), compromise(moved)
    assert [one(each) for each in front] == pytest.approx([two(each) for each in moved], abs=1e-6)


def test_what_was_not_measured_or_diverged_is_no_compromise() -> None:
    front = scores((0.9, 0.3), (0.8, 0.1), (0.99, math.nan))
    worth = compromise(front)
    assert worth(front[2]) == -math.inf < worth(front[0])
    (one,) = scores((0.7, 0.0), of=objective())
    assert worth_of(objective(), FIRST, front=[])(one) == 0.7 == worth_of(objective(), None, front=[])(one)

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from search.pareto import best_first, front

_grid = st.integers(0, 5).map(float)  # ties are frequent


@st.composite
def trials(draw: st.DrawFn) -> tuple[list[tuple[float, ...]], list[float]]:
    n_objectives = draw(st.integers(1, 3))
    n_trials = draw(st.integers(0, 25))
    losses = [tuple(draw(_grid) for _ in range(n_objectives)) for _ in range(n_trials)]
    violations = [draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])) for _ in range(n_trials)]
    return losses, violations


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


@given(trials())
def test_the_front_is_what_nobody_dominates(drawn: tuple[list[tuple[float, ...]], list[float]]) -> None:
    losses, violations = drawn
    least = min(violations, default=0.0)
    in_play = [index for index, violation in enumerate(violations) if violation == least]
    if least > 0.0:
        assert front(losses, violations) == in_play
    else:
        expected = [i for i in in_play if not any(dominates(losses[other], losses[i]) for other in in_play)]
        assert front(losses, violations) == expected


@given(trials())
def test_the_order_puts_nothing_before_what_dominates_it(drawn: tuple[list[tuple[float, ...]], list[float]]) -> None:
    losses, violations = drawn
    order = best_first(losses, violations)
    assert sorted(order) == list(range(len(losses)))
    assert [violations[i] for i in order] == sorted(violations)
    places = {index: place for place, index in enumerate(order)}
    for one in places:
        for other in places:
            if violations[one] == violations[other] == 0.0 and dominates(losses[one], losses[other]):
                assert places[one] < places[other]
    assert set(order[: len(front(losses, violations))]) == set(front(losses, violations))


def test_the_ends_of_a_front_come_first_and_then_what_has_most_room() -> None:
    losses = [(0.0, 10.0), (1.0, 9.0), (1.5, 8.5), (6.0, 4.0), (10.0, 0.0)]
    assert best_first(losses, [0.0] * 5) == [0, 4, 3, 2, 1]


def test_one_objective_is_a_sort() -> None:
    assert best_first([(3.0,), (1.0,), (2.0,), (1.0,)], [0.0] * 4) == [1, 3, 2, 0]


def test_what_was_not_measured_is_on_the_front_only_for_what_was() -> None:
    assert front([(0.0, math.inf), (1.0, 1.0), (2.0, math.inf)], [0.0] * 3) == [0, 1]

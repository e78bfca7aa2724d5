from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.constraint import UNMEASURED, Constraint, violation
from search.errors import StudyDefinitionError

numbers = st.floats(allow_nan=False, allow_infinity=False)


def is_rounding(value: float, bound: float) -> bool:
    """Whether they differ by no more than float32 may make of one number."""
    return 0.0 < abs(value - bound) <= 2.0**-22 * abs(bound)


@given(bound=numbers, value=numbers)
def test_an_excess_is_positive_exactly_where_the_bound_is_missed(bound: float, value: float) -> None:
    upper, lower = (
        Constraint(metric="m", at_most=bound).excess(value),
        Constraint(metric="m", at_least=bound).excess(value),
    )
    assert (upper > 0.0) == (value > bound and not is_rounding(value, bound))
    assert (lower > 0.0) == (value < bound and not is_rounding(value, bound))


@given(bounds=st.tuples(numbers, numbers).map(sorted), value=numbers)
def test_of_two_bounds_both_must_be_kept(bounds: list[float], value: float) -> None:
    both = Constraint(metric="m", at_least=bounds[0], at_most=bounds[1])
    is_kept = bounds[0] <= value <= bounds[1] or any(is_rounding(value, bound) for bound in bounds)
    assert (both.excess(value) > 0.0) == (not is_kept)


@given(bound=st.floats(1e-3, 1e3), share=st.floats(0.0, 10.0), unit=st.floats(1e-3, 1e3))
def test_an_excess_does_not_depend_on_the_unit(bound: float, share: float, unit: float) -> None:
    value = bound * (1.0 + share)
    one, other = (Constraint(metric="m", at_most=bound * scale).excess(value * scale) for scale in (1.0, unit))
    assert one == pytest.approx(other, abs=1e-6)
    assert one == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(("at_most", "value"), [(0.05, 377 / 500), (0.25, 0.95), (0.0, 0.7)])
def test_a_gap_of_accuracies_is_not_missed_by_their_rounding(at_most: float, value: float) -> None:
    gap = float(np.float32(value)) - float(np.float32(value - at_most))
    assert Constraint(metric="gap_acc", at_most=at_most).excess(gap) <= 0.0
    assert Constraint(metric="gap_acc", at_most=at_most).excess(at_most + 1e-5) > 0.0


@pytest.mark.parametrize("bound", [0.7, 0.1, 1e-4, 0.9999])
def test_a_metric_is_not_missed_by_its_rounding(bound: float) -> None:
    assert Constraint(metric="val_acc", at_least=bound).excess(float(np.float32(bound))) <= 0.0
    assert Constraint(metric="val_acc", at_most=bound).excess(float(np.float32(bound))) <= 0.0
    assert Constraint(metric="val_acc", at_most=bound).excess(1.00001 * bound) > 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_was_not_measured_keeps_no_bound(value: float) -> None:
    assert Constraint(metric="m", at_most=0.5).excess(value) == UNMEASURED > 0.0


def test_violations_add_up_and_room_in_one_bound_makes_up_for_nothing() -> None:
    assert violation([-5.0, 0.2, 0.3]) == pytest.approx(0.5)
    assert violation([-5.0, 0.0]) == violation([]) == 0.0


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ({"at_most": 0.05}, "gap_acc <= 0.05"),
        ({"at_least": 0.9}, "gap_acc >= 0.9"),
        ({"at_least": 0.0, "at_most": 0.05}, "0 <= gap_acc <= 0.05"),
        ({"at_most": 1.0e6}, "gap_acc <= 1000000"),
    ],
)
def test_a_constraint_in_words(bounds: dict[str, float], text: str) -> None:
    assert Constraint(metric="gap_acc", **bounds).text == text


@pytest.mark.parametrize("bounds", [{}, {"at_most": math.nan}, {"at_least": -math.inf}, {"at_least": 2, "at_most": 1}])
def test_a_constraint_without_sense_is_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(StudyDefinitionError, match="at_least <= at_most"):
        Constraint(metric="m", **bounds)

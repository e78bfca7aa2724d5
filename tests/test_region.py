"""Where suggestions may lie."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.samplers.region import Intervals, Region

SHARES = np.linspace(0.0, 1.0, 41)
ENDS = st.lists(st.integers(0, 100), min_size=2, max_size=8, unique=True).filter(lambda each: len(each) % 2 == 0)


@st.composite
def intervals(draw: st.DrawFn) -> Intervals:
    ends = sorted(draw(ENDS))
    return tuple((low / 100, high / 100) for low, high in zip(ends[::2], ends[1::2], strict=True))


def shares_of(n: int) -> np.ndarray:
    return np.random.default_rng(0).random((50, n))


@given(st.lists(intervals(), min_size=1, max_size=3).map(tuple))
def test_points_lie_in_it_and_fill_it_evenly(columns: tuple[Intervals, ...]) -> None:
    region = Region(columns)
    points = region.point(shares_of(len(columns)))
    assert region.contains(points).all()
    assert region.nearest(points) == pytest.approx(points, abs=1e-12)
    for column, own in enumerate(columns):
        way = region.point(np.repeat(SHARES[:, None], len(columns), axis=1))[:, column]
        assert (np.diff(way) >= 0.0).all()
        assert way[0] == pytest.approx(own[0][0])
        assert way[-1] == pytest.approx(own[-1][1])
        in_first = (way <= own[0][1] + 1e-12).mean()
        share = (own[0][1] - own[0][0]) / region.widths[column]
        assert in_first == pytest.approx(share, abs=0.06)


@given(st.lists(intervals(), min_size=1, max_size=3).map(tuple))
def test_the_nearest_point_is_in_it_and_none_is_nearer(columns: tuple[Intervals, ...]) -> None:
    region = Region(columns)
    units = shares_of(len(columns))
    moved = region.nearest(units)
    assert region.contains(moved).all()
    others = region.point(shares_of(len(columns))[::-1])
    assert (np.abs(moved - units) <= np.abs(others - units) + 1e-12).all()


def test_without_bounds_nothing_changes() -> None:
    region = Region.of(("a", "b"), {})
    units = shares_of(2)
    assert np.array_equal(region.point(units), units)
    assert np.array_equal(region.nearest(units), units)
    assert region.widths.tolist() == [1.0, 1.0]


def test_bounds_are_given_by_name_and_a_coordinate_that_is_lacking_lies_anywhere() -> None:
    region = Region.of(("a", "b"), {"b": ((0.0, 0.1), (0.5, 0.7)), "c": ((0.0, 0.0),)})
    units = np.array([[0.9, 0.05], [0.9, 0.4], [0.9, math.nan]])
    assert region.contains(units).tolist() == [True, False, True]
    moved = region.nearest(units)
    assert moved[:2].tolist() == [[0.9, 0.05], [0.9, 0.5]]
    assert math.isnan(moved[2, 1])


def test_what_is_near_a_point_has_its_choice_and_lies_in_the_region() -> None:
    columns: tuple[Intervals, ...] = (((0.0, 0.1), (0.4, 0.8)), ((0.1, 0.2), (0.6, 0.7)))
    region = Region(columns)
    is_choice = np.array([False, True])
    near = region.around(np.array([0.45, 0.65]), half_width=0.2, is_choice=is_choice)  # half of the range is left
    assert near.columns == (((0.4, pytest.approx(0.55)),), ((0.65, 0.65),))
    wide = region.around(np.array([0.45, 0.65]), half_width=0.8, is_choice=is_choice)
    assert wide.columns[0] == ((pytest.approx(0.05), 0.1), (0.4, 0.8))
    outside = region.around(np.array([0.9, 0.15]), half_width=0.2, is_choice=is_choice)
    assert outside.columns == (((pytest.approx(0.7), 0.8),), ((0.15, 0.15),))
    assert near.point(shares_of(2)) == pytest.approx(near.nearest(near.point(shares_of(2))))

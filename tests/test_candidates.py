"""Where there are few points, all are looked at; elsewhere, a search keeps all that it has looked at."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.samplers.acquisition import Proposer
from search.samplers.candidates import MOST_ENUMERATED, Candidates
from search.samplers.coordinates import Array, Cells, Mask, UnitCoordinates
from search.samplers.region import Intervals, Region

FINITE = UnitCoordinates(
    {
        "width": IntDistribution(3, 12, log=True),
        "drop": FloatDistribution(0.1, 0.7, step=0.2),
        "kind": CategoricalDistribution(["a", "b", "c"]),
        "n": FloatDistribution(0.0, 1.0),
    },
    {"n": Cells(ends=(0.2, 0.6, np.inf), middles=(0.1, 0.4, 0.8))},
)


def low(points: Array) -> Array:
    return -np.sum(points, axis=1)


def all_new(points: Array) -> Mask:
    return np.ones(len(points), dtype=bool)


@pytest.mark.parametrize(
    ("within", "n_expected"),
    [
        ({}, 10 * 4 * 3 * 3),
        ({"width": ((0.3, 0.5),), "kind": ((0.01, 0.32), (0.68, 0.99)), "n": ((0.0, 0.19), (0.7, 0.9))}, 3 * 4 * 2 * 2),
    ],
)
def test_all_that_a_place_stands_for_is_looked_at(within: dict[str, Intervals], n_expected: int) -> None:
    place = Region.of(FINITE.names, within)
    found = Candidates.enumerated(FINITE, place, low, are_new=all_new)
    assert found is not None
    drawn = FINITE.snap(place.point(np.random.default_rng(0).random((20_000, 4))))
    assert {tuple(each) for each in found.looked_at} == {tuple(each) for each in drawn}
    assert len(found.looked_at) == n_expected
    assert (np.diff(low(found.looked_at)) <= 0.0).all()


def test_what_trials_had_is_left_out() -> None:
    place = Region.of(FINITE.names, {})
    found = Candidates.enumerated(FINITE, place, low, are_new=lambda points: points[:, 2] > 0.5)
    assert found is not None
    assert set(FINITE.choice_indices(found.looked_at, 2)) == {2}
    nothing = Candidates.enumerated(FINITE, place, low, are_new=lambda points: ~all_new(points))
    assert nothing is not None
    assert nothing.looked_at.shape == (0, 4)


@pytest.mark.parametrize("distribution", [IntDistribution(1, MOST_ENUMERATED // 2 + 1), FloatDistribution(0.0, 1.0)])
def test_where_there_are_many_they_are_not(distribution: BaseDistribution) -> None:
    coordinates = UnitCoordinates({"x": distribution, "flag": CategoricalDistribution([False, True])})
    assert Candidates.enumerated(coordinates, Region.of(coordinates.names, {}), low, are_new=all_new) is None


def test_a_search_keeps_what_it_has_looked_at() -> None:
    coordinates = UnitCoordinates({"x": FloatDistribution(0.0, 1.0), "n": IntDistribution(1, 10)})
    place = Region.of(coordinates.names, {})

    def proposer() -> Proposer:
        return Proposer(coordinates, np.random.default_rng(0), place, place.widths)

    around = np.array([[0.5, 0.55]])
    found = Candidates.searched(proposer(), low, around=around)
    assert found.promising.tolist() == proposer().ranked(low, around=around).tolist()
    assert {tuple(each) for each in found.promising} < {tuple(each) for each in found.looked_at}
    assert len(found.looked_at) > 3 * len(found.promising)
    assert (np.diff(low(found.looked_at)) <= 0.0).all()

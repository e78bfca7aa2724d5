from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.samplers.coordinates import UnitCoordinates

DISTRIBUTIONS: list[BaseDistribution] = [
    FloatDistribution(-3.0, 5.0),
    FloatDistribution(1e-7, 10.0, log=True),
    FloatDistribution(-0.3, 0.6, step=0.1),
    IntDistribution(-2, 3),
    IntDistribution(1, 100, log=True),
    IntDistribution(3, 11, step=4),
    CategoricalDistribution([None, "a", 7, 2.5]),
]
FINITE = [each for each in DISTRIBUTIONS if not isinstance(each, FloatDistribution) or each.step is not None]


def one(distribution: BaseDistribution) -> UnitCoordinates:
    return UnitCoordinates.of({"x": distribution})


@given(distribution=st.sampled_from(DISTRIBUTIONS), unit=st.floats(0.0, 1.0))
def test_a_decoded_value_is_optunas_own_and_has_the_snapped_coordinate(
    distribution: BaseDistribution, unit: float
) -> None:
    coordinates = one(distribution)
    value = coordinates.decode(np.array([unit]))["x"]
    assert type(value) is type(distribution.to_external_repr(distribution.to_internal_repr(value)))
    encoded, known = coordinates.encode([{"x": value}])
    assert known.all()
    assert encoded == pytest.approx(coordinates.snap(np.array([[unit]])), abs=1e-9)
    if distribution in FINITE:
        assert coordinates.decode(encoded[0])["x"] == value


@given(unit=st.floats(0.0, 1.0))
def test_continuous_coordinates_are_kept_by_snapping(unit: float) -> None:
    coordinates = UnitCoordinates.of({"x": DISTRIBUTIONS[0], "y": DISTRIBUTIONS[1]})
    assert coordinates.snap(np.array([[unit, unit]])).tolist() == [[unit, unit]]


@pytest.mark.parametrize("distribution", FINITE)
def test_every_value_owns_a_cell_as_wide_as_its_part_of_the_scale(distribution: BaseDistribution) -> None:
    coordinates = one(distribution)
    units = (np.arange(20_000) + 0.5) / 20_000
    snapped, counts = np.unique(coordinates.snap(units[:, None]), return_counts=True)
    values = [coordinates.decode(np.array([each]))["x"] for each in snapped]
    assert len(set(values)) == coordinates.n_values[0] == len(values)
    if isinstance(distribution, IntDistribution) and distribution.log:
        widths = [math.log((value + 0.5) / (value - 0.5)) / math.log(201.0) for value in values]
    else:
        widths = [1.0 / len(values)] * len(values)
    assert counts / 20_000 == pytest.approx(np.array(widths), abs=2e-4)


def test_coordinates_are_linear_on_the_parameters_own_scale() -> None:
    linear, log = one(FloatDistribution(-3.0, 5.0)), one(FloatDistribution(1e-4, 1.0, log=True))
    assert linear.encode([{"x": -3.0}, {"x": 1.0}, {"x": 5.0}])[0].ravel().tolist() == [0.0, 0.5, 1.0]
    assert log.encode([{"x": 1e-4}, {"x": 1e-3}, {"x": 1e-1}])[0].ravel() == pytest.approx([0.0, 0.25, 0.75])


def test_a_lacking_or_strange_value_is_nan_and_not_known() -> None:
    space: Mapping[str, BaseDistribution] = {
        "float": FloatDistribution(0.1, 1.0, log=True),
        "int": IntDistribution(0, 4),
        "choice": CategoricalDistribution(["a", "b"]),
    }
    coordinates = UnitCoordinates.of(space)
    points = [{"int": 0, "other": 3}, {"float": 2.0, "int": 5, "choice": "c"}, {"float": 0.1, "choice": "b"}]
    units, known = coordinates.encode(points)
    assert known.tolist() == [[False, True, False], [False, False, False], [True, False, True]]
    assert np.isnan(units[~known]).all()
    assert coordinates.decode(units[0]) == {"int": 0}
    assert np.isnan(coordinates.snap(units)[~known]).all()


def test_a_stepped_value_at_its_rounded_edge_is_known() -> None:
    coordinates = one(FloatDistribution(-0.3, 0.6, step=0.1))
    assert coordinates.encode([{"x": -0.3 + 9 * 0.1}, {"x": -0.3}])[1].all()
    assert all(-0.3 <= coordinates.decode(np.array([unit]))["x"] <= 0.6 for unit in (0.0, 0.97, 1.0))


def test_parameters_with_a_single_value_have_no_column() -> None:
    coordinates = UnitCoordinates.of(
        {"a": CategoricalDistribution([1]), "b": IntDistribution(1, 1), "c": FloatDistribution(0.0, 1.0)}
    )
    assert coordinates.names == ("c",)
    assert coordinates.encode([{"a": 1, "b": 1, "c": 0.25}])[0].tolist() == [[0.25]]
    assert UnitCoordinates.of({}).encode([{}, {}])[0].shape == (2, 0)
    assert UnitCoordinates.of({}).decode(np.empty(0)) == {}


def test_choices_have_indices_and_indicators() -> None:
    coordinates = UnitCoordinates.of({"x": FloatDistribution(0.0, 1.0), "c": CategoricalDistribution(["a", "b", "c"])})
    units, _ = coordinates.encode([{"c": "c"}, {"x": 0.5, "c": "a"}, {"x": 0.5}])
    assert coordinates.is_choice.tolist() == [False, True]
    assert coordinates.choice_indices(units, 1).tolist() == [2, 0, -1]
    assert coordinates.one_hot(units, 1).tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="column 0 \\('x'\\) must be a choice"):
        coordinates.choice_indices(units, 0)


def test_coordinates_outside_are_moved_to_the_edge() -> None:
    coordinates = UnitCoordinates.of({f"x{index}": each for index, each in enumerate(DISTRIBUTIONS)})
    outside = np.array([[-0.5] * len(DISTRIBUTIONS), [1.5] * len(DISTRIBUTIONS)])
    assert coordinates.snap(outside).tolist() == coordinates.snap(np.clip(outside, 0.0, 1.0)).tolist()
    assert [coordinates.decode(each) for each in outside] == [
        coordinates.decode(np.clip(each, 0, 1)) for each in outside
    ]

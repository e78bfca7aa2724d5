import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import SearchSpaceError
from search.search_space import (
    Choices,
    Condition,
    Dimension,
    IntLogRange,
    IntRange,
    LinearRange,
    LogRange,
    OneMinusLogRange,
    SearchSpace,
)

DIMENSIONS = {
    "log": Dimension(name="a", range=LogRange(low=1e-5, high=1.0), limits=LogRange(low=1e-7, high=10.0)),
    "log or zero": Dimension(
        name="a", range=LogRange(low=0.01, high=0.8), limits=LogRange(low=0.001, high=0.95), zero_share=0.1
    ),
    "linear": Dimension(name="a", range=LinearRange(low=-1.0, high=3.0), limits=LinearRange(low=-1.0, high=3.0)),
    "one minus log": Dimension(
        name="a", range=OneMinusLogRange(low=0.5, high=0.999), limits=OneMinusLogRange(low=0.0, high=0.9999)
    ),
    "int": Dimension(name="a", range=IntRange(low=1, high=4), limits=IntRange(low=1, high=4)),
    "int log": Dimension(name="a", range=IntLogRange(low=8, high=512), limits=IntLogRange(low=1, high=4096)),
    "choice": Dimension(name="a", range=Choices(values=("x", "y", 3)), limits=Choices(values=("x", "y", 3))),
}

units = st.floats(0.0, 1.0, allow_nan=False)


@pytest.mark.parametrize("dimension", DIMENSIONS.values(), ids=DIMENSIONS.keys())
@given(unit=units)
def test_a_unit_coordinate_becomes_a_value_inside_the_range(dimension: Dimension, unit: float) -> None:
    assert dimension.contains(dimension.from_unit(unit))


@pytest.mark.parametrize("dimension", DIMENSIONS.values(), ids=DIMENSIONS.keys())
@given(unit=units)
def test_value_to_unit_to_value_is_the_identity(dimension: Dimension, unit: float) -> None:
    value = dimension.from_unit(unit)
    again = dimension.from_unit(dimension.to_unit(value))
    assert again == pytest.approx(value, rel=1e-9) if isinstance(value, float) else again == value


@pytest.mark.parametrize("kind", ["log", "linear", "one minus log", "int", "int log"])
@given(low=units, high=units)
def test_larger_units_never_give_smaller_values(kind: str, low: float, high: float) -> None:
    dimension = DIMENSIONS[kind]
    low, high = sorted((low, high))
    assert dimension.from_unit(low) <= dimension.from_unit(high)


def test_equal_steps_on_a_log_range_are_equal_factors() -> None:
    values = [DIMENSIONS["log"].from_unit(unit) for unit in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert values == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])


def test_one_minus_momentum_is_log_uniform() -> None:
    dimension = Dimension(
        name="m", range=OneMinusLogRange(low=0.9, high=0.999), limits=OneMinusLogRange(low=0.9, high=0.999)
    )
    assert dimension.from_unit(0.5) == pytest.approx(0.99)


def test_zero_owns_its_share_of_the_unit_interval() -> None:
    dimension = DIMENSIONS["log or zero"]
    assert dimension.from_unit(0.0999) == 0.0
    assert dimension.from_unit(0.1001) == pytest.approx(0.01, rel=0.01)
    assert dimension.from_unit(1.0) == pytest.approx(0.8)


def test_integers_own_equal_sub_intervals() -> None:
    values = [DIMENSIONS["int"].from_unit((index + 0.5) / 100.0) for index in range(100)]
    assert [values.count(value) for value in (1, 2, 3, 4)] == [25, 25, 25, 25]


@pytest.mark.parametrize("unit", [-0.1, 1.1, math.nan])
def test_a_coordinate_outside_the_unit_interval_is_refused(unit: float) -> None:
    with pytest.raises(SearchSpaceError, match="0 <= unit <= 1"):
        DIMENSIONS["log"].from_unit(unit)


def test_a_value_outside_the_range_has_no_coordinate() -> None:
    with pytest.raises(SearchSpaceError, match="outside"):
        DIMENSIONS["log"].to_unit(2.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogRange(low=0.0, high=1.0), "0 < low < high"),
        (lambda: LogRange(low=1.0, high=1.0), "0 < low < high"),
        (lambda: LogRange(low=1.0, high=math.nan), "0 < low < high"),
        (lambda: LogRange(low=1.0, high=math.inf), "0 < low < high"),
        (lambda: LinearRange(low=2.0, high=1.0), "low < high"),
        (lambda: LinearRange(low=-1e308, high=1e308), "width of a range must be a finite number"),
        (lambda: OneMinusLogRange(low=0.5, high=1.0), "0 <= low < high < 1"),
        (lambda: IntRange(low=1, high=1), "low < high"),
        (lambda: IntRange(low=1.5, high=3), "must be integers"),  # type: ignore[arg-type]
        (lambda: IntLogRange(low=0, high=3), "1 <= low < high"),
        (lambda: IntRange(low=-(10**400), high=1), r"within ±2\*\*53"),
        (lambda: IntLogRange(low=1, high=2**53 + 1), r"within ±2\*\*53"),
        (lambda: Choices(values=()), "at least one"),
        (lambda: Choices(values=("a", "b", "a")), "twice"),
    ],
)
def test_impossible_ranges_refuse_to_construct(make: object, message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"range": LogRange(low=1e-9, high=1.0), "limits": LogRange(low=1e-5, high=1.0)}, "within its limits"),
        ({"range": LogRange(low=0.1, high=1.0), "limits": LinearRange(low=0.0, high=1.0)}, "one kind"),
        ({"range": Choices(values=("a", "c")), "limits": Choices(values=("a", "b"))}, "not among the limits"),
        ({"range": Choices(values=(1,)), "limits": Choices(values=(1,)), "zero_share": 0.1}, "list 0 as a choice"),
        ({"range": LogRange(low=0.1, high=1.0), "limits": LogRange(low=0.1, high=1.0), "zero_share": 1.0}, "or_zero"),
    ],
)
def test_impossible_dimensions_refuse_to_construct(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        Dimension(name="a", **fields)  # type: ignore[arg-type]


def choice(name: str, *values: str) -> Dimension:
    return Dimension(name=name, range=Choices(values=values), limits=Choices(values=values))


def momentum(condition: Condition) -> Dimension:
    between = OneMinusLogRange(low=0.5, high=0.99)
    return Dimension(name="momentum", range=between, limits=between, conditions=(condition,))


SGD_ONLY = Condition(name="optimizer", values=("sgd",))


def test_inactive_dimensions_are_left_out() -> None:
    space = SearchSpace(dimensions=(choice("optimizer", "sgd", "adamw"), momentum(SGD_ONLY)))
    assert set(space.from_units({"optimizer": 0.1, "momentum": 0.5})) == {"optimizer", "momentum"}
    assert space.from_units({"optimizer": 0.9, "momentum": 0.5}) == {"optimizer": "adamw"}


def test_a_space_contains_a_point_only_with_exactly_its_active_dimensions() -> None:
    space = SearchSpace(dimensions=(choice("optimizer", "sgd", "adamw"), momentum(SGD_ONLY)))
    assert space.contains({"optimizer": "sgd", "momentum": 0.9})
    assert space.contains({"optimizer": "adamw"})
    assert not space.contains({"optimizer": "sgd"})
    assert not space.contains({"optimizer": "adamw", "momentum": 0.9})
    assert not space.contains({"optimizer": "sgd", "momentum": 0.999})


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ((), "at least one dimension"),
        ((choice("a", "x"), choice("a", "y")), "declared twice"),
        ((momentum(SGD_ONLY),), "not in the search space"),
        ((momentum(SGD_ONLY), choice("optimizer", "sgd")), "must be declared before"),
        ((choice("optimizer", "sgdm", "adamw"), momentum(SGD_ONLY)), "not a choice of 'optimizer'.*'sgdm'"),
        ((DIMENSIONS["log"], momentum(Condition(name="a", values=(1.0,)))), "must name a choice"),
    ],
)
def test_impossible_spaces_refuse_to_construct(dimensions: tuple[Dimension, ...], message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        SearchSpace(dimensions=dimensions)

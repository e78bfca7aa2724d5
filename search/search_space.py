"""Dimensions of a search space: ranges on their own scales, hard limits, conditions.

A dimension maps a *unit coordinate* in ``[0, 1]`` to a value of the hyperparameter and back; equal steps of the unit
coordinate are equal steps on the dimension's scale (decades for `LogRange`). Samplers, narrowing and quasi-random
designs all work in unit coordinates, so that a scale is written down once, here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeAlias, runtime_checkable

from search.errors import SearchSpaceError, did_you_mean
from search.priors import ChoicePrior, Prior

Value: TypeAlias = float | int | str | bool
"""A hyperparameter's value: what Optuna, MLflow, JSON and YAML can all hold."""

Hyperparameters: TypeAlias = Mapping[str, Value]
"""Dotted name (``model.learning_rate``) to value; only the dimensions that are active."""


LARGEST_INTEGER = 2**53
"""In absolute value: beyond it scales, which are floats, cannot tell neighbours apart."""


@runtime_checkable
class NumericRange(Protocol):
    """A closed interval ``[low, high]`` with a scale on which it is sampled uniformly."""

    @property
    def low(self) -> float:
        """Lower bound, inclusive."""

    @property
    def high(self) -> float:
        """Upper bound, inclusive."""

    def scale(self, value: float) -> float:
        """Map a value to its position on the scale (monotonic in the value)."""

    def unscale(self, position: float) -> float:
        """Map a position on the scale back to a value."""

    def with_bounds(self, low: float, high: float) -> Self:
        """Return the same kind of range with other bounds."""


class _Bounded:
    """What every numeric range shares; the scale is the identity unless a subclass says otherwise."""

    __slots__ = ()
    low: float
    high: float

    def scale(self, value: float) -> float:
        return float(value)

    def unscale(self, position: float) -> float:
        return position

    def with_bounds(self, low: float, high: float) -> Self:
        return replace(self, low=low, high=high)  # type: ignore[type-var]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRange(_Bounded):
    """Closed interval ``[low, high]``, sampled uniformly in log space; positions are decades (log10).

    Attributes:
        low: Lower bound, > 0, in the hyperparameter's own unit.
        high: Upper bound, finite and > ``low``, same unit.

    Raises:
        SearchSpaceError: Unless ``0 < low < high < inf``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0.0 < self.low < self.high < math.inf:
            raise SearchSpaceError(f"`0 < low < high < inf` must hold on a log range, but got {_bounds(self)}.")

    def scale(self, value: float) -> float:
        return math.log10(value)

    def unscale(self, position: float) -> float:
        return float(10.0**position)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearRange(_Bounded):
    """Closed interval ``[low, high]``, sampled uniformly.

    Attributes:
        low: Lower bound, finite.
        high: Upper bound, finite and > ``low``.

    Raises:
        SearchSpaceError: Unless ``-inf < low < high < inf`` and ``high - low < inf``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise SearchSpaceError(f"`-inf < low < high < inf` must hold, but got {_bounds(self)}.")
        if self.high - self.low == math.inf:
            raise SearchSpaceError(f"the width of a range must be a finite number, but got {_bounds(self)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class OneMinusLogRange(_Bounded):
    """Closed interval ``[low, high]`` of x with ``1 - x`` log-uniform (momentum); positions are ``-log10(1 - x)``.

    Attributes:
        low: Lower bound, >= 0.
        high: Upper bound, > ``low`` and < 1.

    Raises:
        SearchSpaceError: Unless ``0 <= low < high < 1``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.low < self.high < 1.0:
            raise SearchSpaceError(
                f"`0 <= low < high < 1` must hold on a one_minus_log range, but got {_bounds(self)}."
            )

    def scale(self, value: float) -> float:
        return -math.log10(1.0 - value)

    def unscale(self, position: float) -> float:
        return float(1.0 - 10.0**-position)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntRange(_Bounded):
    """Integers ``low, low + 1, …, high``, sampled uniformly.

    Attributes:
        low: Smallest value, an integer.
        high: Largest value, an integer > ``low``.

    Raises:
        SearchSpaceError: Unless both are integers within `LARGEST_INTEGER` and ``low < high``.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        _require_integers(self)
        if not self.low < self.high:
            raise SearchSpaceError(f"`low < high` must hold, but got {_bounds(self)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntLogRange(_Bounded):
    """Integers ``low … high``, sampled uniformly in log space; positions are decades (log10).

    Attributes:
        low: Smallest value, an integer >= 1.
        high: Largest value, an integer > ``low``.

    Raises:
        SearchSpaceError: Unless both are integers within `LARGEST_INTEGER` and ``1 <= low < high``.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        _require_integers(self)
        if not 1 <= self.low < self.high:
            raise SearchSpaceError(f"`1 <= low < high` must hold on an int_log range, but got {_bounds(self)}.")

    def scale(self, value: float) -> float:
        return math.log10(value)

    def unscale(self, position: float) -> float:
        return float(10.0**position)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """A finite set of values without an order.

    Attributes:
        values: At least one value, all distinct (``True`` and ``1`` count as equal, as in Python).

    Raises:
        SearchSpaceError: If `values` is empty or holds a value twice.
    """

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise SearchSpaceError("a choice needs at least one value, but got none.")
        for index, value in enumerate(self.values):
            if value in self.values[:index]:
                raise SearchSpaceError(f"the values of a choice must be distinct, but {value!r} is there twice.")


Range: TypeAlias = LogRange | LinearRange | OneMinusLogRange | IntRange | IntLogRange | Choices


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The dimension is active only while the choice `name` has one of `values`."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One searched hyperparameter.

    Attributes:
        name: Dotted name, the same in the study file, Optuna and MLflow (``model.learning_rate``).
        range: Where values are sampled now; a stage's narrowing replaces it.
        limits: Where it may ever move: contains `range`, is of the same kind, never changes.
        zero_share: Probability in ``[0, 1)`` of the value exactly 0, beside `range` (``or_zero``).
        conditions: All must hold for the dimension to be active.
        prior: Where good values are expected, None for nowhere in particular; it never changes a range.

    Raises:
        SearchSpaceError: If `range` leaves `limits`, kinds differ, or `zero_share` is out of bounds.
    """

    name: str
    range: Range
    limits: Range
    zero_share: float = 0.0
    conditions: tuple[Condition, ...] = ()
    prior: Prior | None = None

    def __post_init__(self) -> None:
        if type(self.range) is not type(self.limits):
            raise SearchSpaceError(
                f"{self.name}: range and limits must be of one kind, but got {self.range!r}, {self.limits!r}."
            )
        if isinstance(self.range, Choices):
            strangers = [value for value in self.range.values if value not in self.limits.values]  # type: ignore[union-attr]
            if strangers:
                raise SearchSpaceError(f"{self.name}: choices {strangers!r} are not among the limits.")
            if self.zero_share:
                raise SearchSpaceError(f"{self.name}: `or_zero` is for numeric ranges; list 0 as a choice instead.")
        elif not self.limits.low <= self.range.low <= self.range.high <= self.limits.high:  # type: ignore[union-attr]
            raise SearchSpaceError(
                f"{self.name}: the range {_bounds(self.range)} must lie within its limits {_bounds(self.limits)}."
            )
        if not 0.0 <= self.zero_share < 1.0:
            raise SearchSpaceError(f"{self.name}: `0 <= or_zero < 1` must hold, but got {self.zero_share!r}.")
        if self.prior is not None and isinstance(self.prior, ChoicePrior) != isinstance(self.range, Choices):
            raise SearchSpaceError(f"{self.name}: the prior {self.prior!r} is of another kind than {self.range!r}.")

    @property
    def is_integer(self) -> bool:
        """Whether values are integers."""
        return isinstance(self.range, IntRange | IntLogRange)

    def is_active(self, hyperparameters: Hyperparameters) -> bool:
        """Whether every condition holds for the values chosen so far."""
        return all(
            condition.name in hyperparameters and hyperparameters[condition.name] in condition.values
            for condition in self.conditions
        )

    def contains(self, value: Value) -> bool:
        """Whether `value` lies in the current range (or is the extra zero)."""
        if isinstance(self.range, Choices):
            return value in self.range.values
        if isinstance(value, str):
            return False
        return (value == 0 and self.zero_share > 0.0) or self.range.low <= value <= self.range.high

    def from_unit(self, unit: float) -> Value:
        """Map a unit coordinate to a value; the inverse of `to_unit` up to rounding.

        Args:
            unit: In ``[0, 1]``. Integers and choices own equal (on their scale) sub-intervals.

        Raises:
            SearchSpaceError: If `unit` is outside ``[0, 1]`` or NaN.
        """
        if not 0.0 <= unit <= 1.0:
            raise SearchSpaceError(f"{self.name}: `0 <= unit <= 1` must hold, but got {unit!r}.")
        if isinstance(self.range, Choices):
            return self.range.values[min(int(unit * len(self.range.values)), len(self.range.values) - 1)]
        if unit < self.zero_share:
            return 0 if self.is_integer else 0.0
        share = (unit - self.zero_share) / (1.0 - self.zero_share)
        low, high = self.edges()
        value = self.range.unscale(low + share * (high - low))
        if self.is_integer:
            return int(min(max(round(value), self.range.low), self.range.high))
        return float(min(max(value, self.range.low), self.range.high))

    def to_unit(self, value: Value) -> float:
        """Map a value inside the range to its unit coordinate (the middle of its sub-interval where it owns one).

        Raises:
            SearchSpaceError: If the range does not contain `value`.
        """
        if not self.contains(value):
            raise SearchSpaceError(f"{self.name}: {value!r} is outside {self.range!r}.")
        if isinstance(self.range, Choices):
            return (self.range.values.index(value) + 0.5) / len(self.range.values)
        assert not isinstance(value, str)
        return self.zero_share / 2.0 if value == 0 and self.zero_share > 0.0 else self.unit_beside_zero(value)

    def unit_beside_zero(self, value: float) -> float:
        """Return the unit coordinate of a number as one of the range's own, 0 too, whatever the extra zero has."""
        assert not isinstance(self.range, Choices)
        low, high = self.edges()
        share = (self.range.scale(value) - low) / (high - low)
        return min(max(self.zero_share + (1.0 - self.zero_share) * share, self.zero_share), 1.0)

    def edges(self) -> tuple[float, float]:
        """Return the positions on a numeric scale that shares 0 and 1 of the range stand for.

        An integer owns half a step on each side.
        """
        assert not isinstance(self.range, Choices)
        if isinstance(self.range, IntRange | IntLogRange):
            return self.range.scale(self.range.low - 0.5), self.range.scale(self.range.high + 0.5)
        return self.range.scale(self.range.low), self.range.scale(self.range.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """An ordered set of dimensions; a stage's box is a search space with narrowed ranges and the same limits.

    Attributes:
        dimensions: In declaration order, except that a condition's choice must come before what depends on it.

    Raises:
        SearchSpaceError: If it is empty, a name is there twice, or a condition names an unknown or later dimension,
            one that is no choice, or a value that is not among its choices.
    """

    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        if not self.dimensions:
            raise SearchSpaceError("a search space needs at least one dimension, but got none.")
        seen: dict[str, Dimension] = {}
        names = [dimension.name for dimension in self.dimensions]
        for dimension in self.dimensions:
            if dimension.name in seen:
                raise SearchSpaceError(f"{dimension.name} is declared twice.")
            for condition in dimension.conditions:
                _check_condition(dimension, condition, seen, names)
            seen[dimension.name] = dimension

    def __iter__(self) -> Iterator[Dimension]:
        return iter(self.dimensions)

    def __len__(self) -> int:
        return len(self.dimensions)

    def __getitem__(self, name: str) -> Dimension:
        for dimension in self.dimensions:
            if dimension.name == name:
                return dimension
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(dimension.name for dimension in self.dimensions)

    def from_units(self, units: Mapping[str, float]) -> dict[str, Value]:
        """Turn unit coordinates, one per dimension, into hyperparameters; inactive dimensions are left out."""
        values: dict[str, Value] = {}
        for dimension in self.dimensions:
            if dimension.is_active(values):
                values[dimension.name] = dimension.from_unit(units[dimension.name])
        return values

    def contains(self, hyperparameters: Hyperparameters) -> bool:
        """Whether exactly the active dimensions are given, each inside its current range."""
        active = [dimension for dimension in self.dimensions if dimension.is_active(hyperparameters)]
        return len(active) == len(hyperparameters) and all(
            dimension.name in hyperparameters and dimension.contains(hyperparameters[dimension.name])
            for dimension in active
        )


def _check_condition(
    dimension: Dimension, condition: Condition, earlier: Mapping[str, Dimension], names: list[str]
) -> None:
    if condition.name not in earlier:
        reason = "must be declared before it" if condition.name in names else "is not in the search space"
        raise SearchSpaceError(
            f"{dimension.name}: the condition's {condition.name!r} {reason}.{did_you_mean(condition.name, earlier)}"
        )
    choice = earlier[condition.name]
    if not isinstance(choice.limits, Choices):
        raise SearchSpaceError(f"{dimension.name}: a condition must name a choice, but {condition.name!r} is numeric.")
    for value in condition.values:
        if value not in choice.limits.values:
            raise SearchSpaceError(
                f"{dimension.name}: {value!r} is not a choice of {condition.name!r}, which has "
                f"{list(choice.limits.values)!r}.{did_you_mean(str(value), [str(v) for v in choice.limits.values])}"
            )


def _require_integers(range_: IntRange | IntLogRange) -> None:
    for bound in (range_.low, range_.high):
        if not isinstance(bound, int) or isinstance(bound, bool):
            raise SearchSpaceError(f"bounds of an integer range must be integers, but got {_bounds(range_)}.")
        if abs(bound) > LARGEST_INTEGER:
            raise SearchSpaceError(f"bounds of an integer range must lie within ±2**53, but got {_bounds(range_)}.")


def _bounds(range_: _Bounded | Range) -> str:
    assert not isinstance(range_, Choices)
    return f"[{range_.low!r}, {range_.high!r}]"

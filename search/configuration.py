"""Values of a search space that come from elsewhere: what each of them must be to have a place in it."""

from __future__ import annotations

from dataclasses import replace

from search.errors import SearchSpaceError
from search.search_space import Choices, Dimension, Hyperparameters, SearchSpace, Value


def value_in_limits(dimension: Dimension, value: Value) -> Value:
    """Return a value as the dimension has it: of its type, within its hard limits, or the extra zero.

    Raises:
        SearchSpaceError: If it has no such value; the message says what it must be, without the dimension's name.
    """
    limits = dimension.limits
    if isinstance(limits, Choices):
        for known in limits.values:
            if known == value and isinstance(known, str) == isinstance(value, str):
                return known
        raise SearchSpaceError(f"must be one of {list(limits.values)!r}, but got {value!r}.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SearchSpaceError(f"must be a number, but got {value!r}.")
    if dimension.is_integer and value != int(value):
        raise SearchSpaceError(f"must be an integer, but got {value!r}.")
    if not replace(dimension, range=limits).contains(value):
        or_zero = " or be 0" if dimension.zero_share else ""
        raise SearchSpaceError(
            f"must lie within the hard limits [{limits.low!r}, {limits.high!r}]{or_zero}, but got {value!r}."
        )
    return int(value) if dimension.is_integer else float(value)


def inactive_reason(dimension: Dimension, values: Hyperparameters) -> str:
    """Return why a dimension is not known to be active beside some values, or an empty string if it is.

    Args:
        dimension: Of the space.
        values: Some values of the space.
    """
    for condition in dimension.conditions:
        if condition.name not in values:
            return f"needs {condition.name} beside it, on which it depends"
        if values[condition.name] not in condition.values:
            return (
                f"is searched only while {condition.name} is one of {list(condition.values)!r}, which is "
                f"{values[condition.name]!r} here"
            )
    return ""


def known_part(space: SearchSpace, values: Hyperparameters) -> dict[str, Value] | None:
    """Return the values that a point of another space shares with this one, None if one has no place in it.

    What is not known to be active is left out; texts that spell numbers, or choices, count as these.
    """
    shared, reason = _shared(space, values)
    return None if reason else shared


def misfit(space: SearchSpace, values: Hyperparameters) -> str:
    """Return which value of a point has no place in the space, and what it must be; an empty string if all have."""
    return _shared(space, values)[1]


def _shared(space: SearchSpace, values: Hyperparameters) -> tuple[dict[str, Value], str]:
    """Return what `known_part` does as far as the first value that has no place, and what that one must be."""
    shared: dict[str, Value] = {}
    for dimension in space:
        if dimension.name in values and not inactive_reason(dimension, shared):
            value = values[dimension.name]
            try:
                shared[dimension.name] = value_in_limits(dimension, _as_typed(dimension, value))
            except SearchSpaceError as error:
                return shared, f"{dimension.name} {error}"
            except (ValueError, OverflowError):
                return shared, f"{dimension.name} must be a finite number, but got {value!r}."
    return shared, ""


def _as_typed(dimension: Dimension, value: Value) -> Value:
    if not isinstance(value, str):
        return value
    if isinstance(dimension.limits, Choices):
        return next((known for known in dimension.limits.values if str(known) == value), value)
    return float(value)

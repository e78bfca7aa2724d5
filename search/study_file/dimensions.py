"""Entries of `space:` to `search.search_space.Dimension` and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

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
    Range,
    SearchSpace,
)
from search.study_file.default_limits import default_limits
from search.study_file.document import Document, KeyPath, plain_copy, shown
from search.study_file.prior_entries import PriorEntryError, prior_to_plain, read_prior
from search.study_file.problems import Problem, error_of, problems_of
from search.study_file.schema import KINDS, DimensionSection

_RANGES: Mapping[str, type[LogRange | LinearRange | OneMinusLogRange]] = {
    "log": LogRange,
    "linear": LinearRange,
    "one_minus_log": OneMinusLogRange,
}
_INTEGER_RANGES: Mapping[str, type[IntRange | IntLogRange]] = {"int": IntRange, "int_log": IntLogRange}
_KIND_OF: Mapping[type[Range], str] = {
    **{cls: kind for kind, cls in _RANGES.items()},
    **{cls: kind for kind, cls in _INTEGER_RANGES.items()},
    Choices: "choice",
}
_SPACE: KeyPath = ("space",)


class _BrokenRuleError(Exception):
    """A problem found while an entry is read."""

    def __init__(self, path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(path=path, message=message)


def read_space(sections: Mapping[str, DimensionSection]) -> SearchSpace | list[Problem]:
    """Return the search space of the file's entries, choices before what depends on them, or what is wrong with it."""
    dimensions: list[Dimension] = []
    problems: list[Problem] = []
    for name, section in sections.items():
        try:
            dimensions.append(_read_dimension(name, section))
        except _BrokenRuleError as broken:
            problems.append(broken.problem)
    return problems or _assemble(dimensions)


def dimension_to_plain(dimension: Dimension) -> dict[str, Any]:
    """Return the dimension as its entry in a study file (the name is the entry's key).

    Every default is spelled out, except that a dimension without a prior has no such key.
    """
    plain: dict[str, Any] = {
        _KIND_OF[type(dimension.range)]: _values(dimension.range),
        "limits": _values(dimension.limits),
    }
    if not isinstance(dimension.range, Choices):
        plain["or_zero"] = dimension.zero_share
    plain["when"] = {condition.name: list(condition.values) for condition in dimension.conditions}
    if dimension.prior is not None:
        plain["prior"] = prior_to_plain(dimension)
    return plain


def space_to_plain(space: SearchSpace) -> dict[str, Any]:
    """Return a search space, declared or narrowed, as the study file's `space`."""
    return {dimension.name: dimension_to_plain(dimension) for dimension in space}


def space_from_plain(plain: Mapping[str, Any]) -> SearchSpace:
    """Return the search space of such plain data; the inverse of `space_to_plain`.

    Raises:
        StudyDefinitionError: If it breaks a rule of the study file's `space`.
    """
    document = Document(plain={"space": plain_copy(plain)})
    try:
        sections = TypeAdapter(dict[str, DimensionSection]).validate_python(document.plain["space"])
    except ValidationError as error:
        raise error_of(problems_of(error, within=_SPACE), document) from None
    space = read_space(sections)
    if isinstance(space, list):
        raise error_of(space, document)
    return space


def _values(range_: Range) -> list[Any]:
    return list(range_.values) if isinstance(range_, Choices) else [range_.low, range_.high]


def _read_dimension(name: str, section: DimensionSection) -> Dimension:
    path = (*_SPACE, name)
    kind, values = _kind(path, section)
    declared = _read_range(kind, values, (*path, kind))
    limits = default_limits(name, declared)
    if section.limits is not None:
        limits = _read_range(kind, _checked_limits(kind, section.limits, path), (*path, "limits"))
    conditions = tuple(
        Condition(name=choice, values=tuple(allowed)) for choice, allowed in (section.when or {}).items()
    )
    if section.or_zero is not None and kind == "choice":
        raise _BrokenRuleError(
            (*path, "or_zero"),
            f"is for numeric ranges, but got {section.or_zero!r} on a choice; list 0 among its values instead.",
        )
    try:
        return Dimension(
            name=name,
            range=declared,
            limits=limits,
            zero_share=section.or_zero or 0.0,
            conditions=conditions,
            prior=None if section.prior is None else read_prior(section.prior, limits=limits),
        )
    except PriorEntryError as error:
        raise _BrokenRuleError((*path, "prior", *filter(None, [error.key])), str(error)) from None
    except SearchSpaceError as error:
        at = path if section.limits is None else (*path, "limits")
        raise _BrokenRuleError(at, str(error).removeprefix(f"{name}: ")) from None


def _kind(path: KeyPath, section: DimensionSection) -> tuple[str, list[Any]]:
    given = {kind: getattr(section, "int_" if kind == "int" else kind) for kind in KINDS}
    given = {kind: values for kind, values in given.items() if values is not None}
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        raise _BrokenRuleError(path, f"must have exactly one kind of range ({', '.join(KINDS)}), but got {got}.")
    return given.popitem()


def _checked_limits(kind: str, values: list[Any], path: KeyPath) -> list[Any]:
    """Check what the schema cannot: that limits are of the type that the entry's kind asks for."""
    if kind == "choice":
        return values
    wanted, word = ((int,), "integers") if kind in _INTEGER_RANGES else ((int, float), "numbers")
    if len(values) == 2 and all(isinstance(value, wanted) and not isinstance(value, bool) for value in values):
        return values
    raise _BrokenRuleError((*path, "limits"), f"must be [low, high], two {word}, but got {shown(values)}.")


def _read_range(kind: str, values: list[Any], path: KeyPath) -> Range:
    try:
        if kind == "choice":
            return Choices(values=tuple(values))
        low, high = values
        if kind in _INTEGER_RANGES:
            return _INTEGER_RANGES[kind](low=low, high=high)
        return _RANGES[kind](low=float(low), high=float(high))
    except SearchSpaceError as error:
        hint = ""
        if kind in ("log", "int_log") and values[0] == 0:
            hint = " For a share of trials at exactly 0, start the range above it and add `or_zero: 0.1`."
        raise _BrokenRuleError(path, f"{error}{hint}") from None
    except OverflowError:
        raise _BrokenRuleError(path, f"must be numbers that fit a 64-bit float, but got {shown(values)}.") from None


def _assemble(dimensions: list[Dimension]) -> SearchSpace | list[Problem]:
    ordered, left_over = _choices_first(dimensions)
    if left_over:
        circle = _circle(left_over)
        message = f"conditions must not go in a circle, but got {' -> '.join([*circle, circle[0]])}."
        return [Problem(path=(*_SPACE, circle[0], "when"), message=message)]
    for count, dimension in enumerate(ordered, start=1):
        for condition in dimension.conditions:
            alone = replace(dimension, conditions=(condition,))
            try:
                SearchSpace(dimensions=(*ordered[: count - 1], alone))
            except SearchSpaceError as error:
                message = str(error).removeprefix(f"{dimension.name}: ")
                return [Problem(path=(*_SPACE, dimension.name, "when", condition.name), message=message)]
    return SearchSpace(dimensions=tuple(ordered))


def _choices_first(dimensions: list[Dimension]) -> tuple[list[Dimension], list[Dimension]]:
    """Move every dimension behind those that its conditions name, else keep the order; what cannot is left over."""
    names = {dimension.name for dimension in dimensions}
    ordered: list[Dimension] = []
    placed: set[str] = set()
    waiting = list(dimensions)
    while waiting:
        for dimension in waiting:
            if all(each.name in placed or each.name not in names for each in dimension.conditions):
                break
        else:
            return ordered, waiting
        waiting.remove(dimension)
        ordered.append(dimension)
        placed.add(dimension.name)
    return ordered, []


def _circle(left_over: list[Dimension]) -> list[str]:
    """Return the names along one circle of conditions; each of the given dimensions waits for another of them."""
    waits_for = {dimension.name: [condition.name for condition in dimension.conditions] for dimension in left_over}
    trail = [left_over[0].name]
    while True:
        following = next(name for name in waits_for[trail[-1]] if name in waits_for)
        if following in trail:
            return trail[trail.index(following) :]
        trail.append(following)

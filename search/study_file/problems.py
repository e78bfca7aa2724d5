"""From what is wrong with a study file to one message that says where, what, and how to mend it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from search.errors import StudyDefinitionError, did_you_mean
from search.near_names import nearest_name
from search.study_file.document import Document, KeyPath, shown
from search.study_file.expectations import expectation, keys_at, known_part, without_tags, words_at
from search.study_file.schema_parts import OWN_ERROR

MAX_SHOWN = 5

_NAME = "[key]"  # how pydantic says that the name of an entry is wrong, not what it holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One broken rule.

    Attributes:
        path: The entry that breaks it.
        message: The rule, the value got and the way out, without the place.
    """

    path: KeyPath
    message: str


def error_of(problems: Sequence[Problem], document: Document) -> StudyDefinitionError:
    """Return one error for all problems: the first in file order leads, up to `MAX_SHOWN` are told, a line each."""
    located = [(document.error(problem.path, problem.message), problem) for problem in problems]
    located.sort(key=lambda pair: math.inf if pair[0].line is None else pair[0].line)
    (_, first), *rest = located
    more = [str(error) for error, _ in rest[: MAX_SHOWN - 1]]
    if len(located) > MAX_SHOWN:
        more.append(f"… and {len(located) - MAX_SHOWN} more.")
    return document.error(first.path, first.message, more=more)


def problems_of(error: ValidationError, *, within: KeyPath = ()) -> list[Problem]:
    """Return pydantic's findings as problems in our words; `within` is the entry that was validated.

    A misspelt key is one problem, not an unknown key and a missing one; so is a value that is of no type of a union.
    """
    found = [((*within, *details["loc"]), details) for details in error.errors(include_url=False)]
    unknown = (path for path, details in found if details["type"] == "extra_forbidden")
    meant = {(*path[:-1], nearest_name(str(path[-1]), keys_at(path[:-1]))) for path in unknown}
    told = (_problem(details, path) for path, details in found if details["type"] != "missing" or path not in meant)
    return list(dict.fromkeys(told))


def _problem(details: ErrorDetails, path: KeyPath) -> Problem:
    value: Any = details["input"]
    entry = without_tags(path)
    match details["type"]:
        case "missing":
            message = f"is required ({expectation(path)}), but got {_listed(value)}."
        case "extra_forbidden":
            known = keys_at(path[:-1])
            message = (
                f"the key {path[-1]!r} (with the value {shown(value)}) is unknown; the keys here are "
                f"{', '.join(known)}.{did_you_mean(str(path[-1]), known)}"
            )
        case "union_tag_not_found":
            entry = (*path, "name")
            message = f"is required ({expectation(entry)}), but got {_listed(value)}."
        case "union_tag_invalid":
            entry, value = (*path, "name"), value["name"]
            message = f"must be {expectation(entry)}, but got {shown(value)}.{_hint(entry, value)}"
        case kind if kind == OWN_ERROR:
            message = details["msg"]
        case _ if path[-1] == _NAME:
            entry = without_tags(path[:-2])
            message = f"every name here must be a string of one character or more, but got {shown(value)}."
        case _:
            path = known_part(path)
            entry = without_tags(path)
            message = f"must be {expectation(path)}, but got {shown(value)}.{_hint(path, value)}"
    return Problem(path=entry, message=message)


def _listed(value: Any) -> str:
    return f"only {', '.join(value)}" if isinstance(value, dict) and value else "no keys at all"


def _hint(path: KeyPath, value: Any) -> str:
    """Return a way out for the usual slips, or an empty string."""
    expected = expectation(path)
    if isinstance(value, str):
        if value in _SLIPS and expected.endswith("true or false"):
            return did_you_mean(_SLIPS[value], _BOOLS)
        if _is_number(value) and ("an integer" in expected or "a finite number" in expected):
            return " Remove the quotes."
        if words := words_at(path):
            return did_you_mean(value, words)
        if expected == "true or false":
            return did_you_mean(value, _BOOLS)
    elif expected.startswith("a string") and isinstance(value, bool | int | float):
        return " Put it in quotes."
    return ""


_BOOLS = ("true", "false")
_SLIPS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False

"""How two definitions differ, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from search.study_definition import StudyDefinition
from search.study_file.conversion import definition_to_plain
from search.study_file.document import SHORTHAND_KEYS, KeyPath, dotted

_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One entry that differs: where it is, and a line that shows it, ``stages.0.n_trials: 48 -> 12``."""

    path: KeyPath
    line: str


def definition_differences(old: StudyDefinition, new: StudyDefinition) -> list[Difference]:
    """Return every entry that differs, in the order of the study file; empty if the definitions are equal."""
    return [
        Difference(path=path, line=f"{dotted(path)}: {_text(before)} -> {_text(after)}")
        for path, before, after in _compare(definition_to_plain(old), definition_to_plain(new), ())
    ]


def _compare(old: Any, new: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any, Any]]:
    if is_another_rule(old, new, path):  # each has keys of its own
        yield path, old, new
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _compare(old.get(key, _ABSENT), new.get(key, _ABSENT), (*path, key))
        if path == ("space",) and list(old) != list(new) and old.keys() == new.keys():
            yield path, f"order {', '.join(old)}", f"order {', '.join(new)}"
    elif _holds_mappings(old) and _holds_mappings(new):
        for index in range(max(len(old), len(new))):
            before, after = (items[index] if index < len(items) else _ABSENT for items in (old, new))
            yield from _compare(before, after, (*path, index))
    elif old != new or type(old) is not type(new):
        yield path, old, new


def is_another_rule(old: Any, new: Any, path: KeyPath) -> bool:
    """Whether the sections at `path` are named differently, so that their other keys have nothing in common."""
    key = SHORTHAND_KEYS.get(str(path[-1])) if path else None
    return key is not None and isinstance(old, dict) and isinstance(new, dict) and old.get(key) != new.get(key)


def _holds_mappings(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _text(value: Any) -> str:
    if value is _ABSENT:
        return "(absent)"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    return str(value)

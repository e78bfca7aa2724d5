"""Definitions that are made of a recorded one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from search.study_definition import StudyDefinition
from search.study_file.conversion import definition_from_plain, definition_to_plain
from search.study_file.differences import definition_differences, is_another_rule
from search.study_file.document import KeyPath, dotted
from search.study_file.schema import KINDS


def with_overrides(definition: StudyDefinition, overrides: Sequence[str]) -> StudyDefinition:
    """Return the definition with ``--set`` texts applied; see `load_study_file`.

    Raises:
        StudyDefinitionError: If an override breaks a rule.
    """
    plain = definition_to_plain(definition)
    if any(text.startswith("narrow") for text in overrides):
        plain["narrow"] = plain["stages"][-1]["narrow"]
        for stage in plain["stages"]:  # each has its rule spelled out, which would win over the study-wide one
            del stage["narrow"]
    changed = definition_from_plain(plain, overrides=overrides)
    paths = [dotted(each.path) for each in definition_differences(definition, changed)]
    unchanged = {
        key: value
        for key, value in definition.left_out.items()
        if not any(_lies_in(path, key) or _lies_in(key, path) for path in paths)
    }
    return replace(changed, left_out={**changed.left_out, **unchanged})


def with_recorded_defaults(given: StudyDefinition, recorded: StudyDefinition) -> StudyDefinition:
    """Return the definition with what neither it nor the recorded one says as it is recorded.

    So a default that was another one when the study began is no edit of it.
    """
    ours = definition_to_plain(given)
    shared = {
        key: default
        for key, default in given.left_out.items()
        if any(_lies_in(key, other) for other in recorded.left_out)
    }
    plain = _filled(ours, definition_to_plain(recorded), (), shared)
    return given if plain == ours else replace(definition_from_plain(plain), left_out=given.left_out)


def _filled(ours: Any, theirs: Any, path: KeyPath, shared: Mapping[str, Any]) -> Any:
    if dotted(path) in shared and ours == shared[dotted(path)]:  # else it was set in Python
        return theirs
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if is_another_rule(theirs, ours, path) or _is_another_range(theirs, ours, path):
            return ours
        return {
            key: _filled(value, theirs[key], (*path, key), shared) if key in theirs else value
            for key, value in ours.items()
        }
    if isinstance(ours, list) and isinstance(theirs, list):
        both = enumerate(zip(ours, theirs, strict=False))
        return [*(_filled(our, their, (*path, index), shared) for index, (our, their) in both), *ours[len(theirs) :]]
    return ours


def _is_another_range(old: Mapping[str, Any], new: Mapping[str, Any], path: KeyPath) -> bool:
    """Whether the entries at `path` are a dimension's with other ranges; limits that are left out follow them."""
    is_dimension = len(path) == 2 and path[0] == "space"
    return is_dimension and any(old.get(kind) != new.get(kind) for kind in KINDS)


def _lies_in(key: str, other: str) -> bool:
    """Whether a dotted key is another one, or within it."""
    return f"{key}.".startswith(f"{other}.")

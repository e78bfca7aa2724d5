"""A study's definition as its storage holds it: every default spelled out, and which entries were left to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from search.storage.former_definitions import as_of_now, former_defaults
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain, definition_to_plain

_LEFT_OUT = "left_out"


def definition_to_stored(definition: StudyDefinition) -> dict[str, Any]:
    """Return the definition as plain data."""
    return {**definition_to_plain(definition), _LEFT_OUT: sorted(definition.left_out)}


def definition_from_stored(stored: Mapping[str, Any]) -> StudyDefinition:
    """Return the definition that such data hold, also as earlier versions stored them.

    Raises:
        StudyDefinitionError: If they hold none that this version can read.
    """
    plain = as_of_now(stored)
    left_out = plain.pop(_LEFT_OUT, None)
    definition = definition_from_plain(plain)
    return replace(definition, left_out=dict.fromkeys(former_defaults(plain) if left_out is None else left_out))

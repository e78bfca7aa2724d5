"""What the calls that take a study make sure of before they look into it."""

from __future__ import annotations

from pathlib import Path

from search.errors import StudyDefinitionError
from search.study_definition import StudyDefinition


def require_definition(given: object) -> None:
    """Refuse what is no study definition.

    Raises:
        StudyDefinitionError: If it is something else; of a path, the message says how it is read.
    """
    if isinstance(given, StudyDefinition):
        return
    if isinstance(given, str | Path):
        raise StudyDefinitionError(
            f"a study must be a StudyDefinition, but got {str(given)!r}; a study file is read by "
            f"search.load_study_file({str(given)!r})."
        )
    raise StudyDefinitionError(
        f"a study must be a StudyDefinition, but got {type(given).__name__}; "
        "search.definition_from_plain makes one of a mapping."
    )

"""The one family of errors that zeroin raises on purpose."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from search.near_names import nearest_name


class SearchError(Exception):
    """Base of every error that a user can cause and mend; the CLI prints its text and exits with `exit_code`."""

    exit_code: int = 2


class SearchSpaceError(SearchError):
    """A range, choice, condition or point that breaks a rule of the search space."""


class StudyDefinitionError(SearchError):
    """A study file, or a study built in Python, that breaks a rule.

    Attributes:
        key: Dotted path of the offending entry (``stages.1.n_trials``), empty if the whole file is meant.
        file: The study file, or None for a study built in Python.
        line: Line in `file`, counted from 1, or None if unknown.
    """

    def __init__(self, message: str, *, key: str = "", file: Path | None = None, line: int | None = None) -> None:
        self.key = key
        self.file = file
        self.line = line
        where = "" if file is None else f"{file}:{line}: " if line is not None else f"{file}: "
        super().__init__(f"{where}{f'{key}: ' if key else ''}{message}")


class StudyNotFoundError(SearchError):
    """No study file, recorded study or built-in study of that name."""


class StudyConflictError(SearchError):
    """The study exists already with another definition, or another coordinator runs it right now."""


class StateError(SearchError):
    """The state directory, a store or a record in it cannot be read or written."""


class StudyFailedError(SearchError):
    """The study could not go on: every trial failed, or no worker could be started."""

    exit_code = 1


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` if a known name is near to `name`, else an empty string."""
    near = nearest_name(name, known)
    return "" if near is None else f" Did you mean {near!r}?"


class StudyInterruptedError(SearchError):
    """The user stopped the study; everything is saved and the text says how to go on."""

    exit_code = 130

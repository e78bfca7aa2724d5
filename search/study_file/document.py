"""A study as plain data, together with where each of its entries was written."""

from __future__ import annotations

import enum
import math
import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from search.errors import StudyDefinitionError

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the top of the file down to one entry."""

SHORTHAND_KEYS = {"pruner": "name", "narrow": "rule"}
"""Sections for which a word may stand, by their keys: the key within that the word is for, and that says which rule's
keys the others are."""

STORE_KEYS = ("storage", "tracking_uri", "checkpoints")
"""Where a study is kept, which the command line may say as well; no part of what it is."""

MAX_DEPTH = 40
MAX_ENTRIES = 10_000
_SHOWN_CHARACTERS = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Plain data (None, booleans, numbers, strings, lists, dicts with string keys) and its origin.

    Attributes:
        plain: The whole study, normally a dict.
        file: The study file, or None for a study built in Python.
        lines: Line of each entry, counted from 1; empty for a study built in Python.
        overrides: The ``--set`` text that set an entry, by the entry's path.
    """

    plain: Any
    file: Path | None = None
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    overrides: Mapping[KeyPath, str] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int | None:
        """Line of the entry at `path` or, if it is missing, of the closest entry around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None

    def override(self, path: KeyPath) -> str | None:
        """The ``--set`` text that the entry at `path` comes from."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.overrides:
                return self.overrides[path[:length]]
        return None

    def trimmed(self, path: KeyPath) -> KeyPath:
        """Return the part of `path` that exists, plus one missing key; what a shorthand implied is cut off."""
        node = self.plain
        for length, key in enumerate(path):
            if isinstance(node, dict) and isinstance(key, str):
                if key not in node:
                    return path[: length + 1]
                node = node[key]
            elif isinstance(node, list) and isinstance(key, int) and key < len(node):
                node = node[key]
            else:
                return path[:length]
        return path

    def error(self, path: KeyPath, message: str, *, more: Sequence[str] = ()) -> StudyDefinitionError:
        """Return the error that says where `path` was written and what is wrong with it; `more`: further lines."""
        path = self.trimmed(path)
        message, line = self.placed(path, message)
        return StudyDefinitionError("\n".join([message, *more]), key=dotted(path), file=self.file, line=line)

    def placed(self, path: KeyPath, message: str) -> tuple[str, int | None]:
        """Return the message with the ``--set`` text that `path` comes from, or else its line."""
        origin = self.override(path)
        return (message, self.line(path)) if origin is None else (f"{message} (It comes from `--set {origin}`.)", None)


def dotted(path: KeyPath) -> str:
    """Return the path as users write it: ``stages.1.n_trials``."""
    return ".".join(str(key) for key in path)


def parse_dotted(document: Document, key: str) -> KeyPath:
    """Return the path of the entry that a dotted key names, as far down as the document has it."""
    path: KeyPath = ()
    node, rest = document.plain, key
    while rest and isinstance(node, dict | list):
        names = {str(name): name for name in (node if isinstance(node, dict) else range(len(node)))}
        # Names of the space hold dots themselves, so the longest name that fits is the one that is meant.
        fitting = [name for name in names if rest == name or rest.startswith(f"{name}.")]
        if not fitting:
            break
        name = max(fitting, key=len)
        path, node, rest = (*path, names[name]), node[names[name]], rest[len(name) + 1 :]
    return path


def shown(value: object) -> str:
    """Return the value for a message, shortened to one line of bounded length."""
    try:
        text = "nothing" if value is None else repr(value)
    except (RecursionError, ValueError):  # nested too deep, or an integer of more digits than Python prints
        return f"a huge {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def plain_copy(value: object, *, file: Path | None = None) -> Any:
    """Return a deep copy made of plain data only; tuples become lists, paths strings, classes their import paths.

    Args:
        value: A study built in Python. NumPy's numbers count as numbers, enum members as their values.
        file: File to name in errors.

    Raises:
        StudyDefinitionError: If something is no plain data, a key no string, a number NaN, or it is nested or refers
            to itself without end.
    """
    return _Copier(file).copy(value, ())


class _Copier:
    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._n_entries = 0

    def copy(self, value: object, path: KeyPath) -> Any:
        self._n_entries += 1
        if self._n_entries > MAX_ENTRIES or len(path) > MAX_DEPTH:
            raise self._error(path, f"a study may have {MAX_ENTRIES} entries and {MAX_DEPTH} levels, but has more.")
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, Mapping):
            return {self._key(key, path): self.copy(item, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.copy(item, (*path, index)) for index, item in enumerate(value)]
        return self._scalar(value, path)

    def _key(self, key: object, path: KeyPath) -> str:
        if not isinstance(key, str):
            raise self._error(path, f"keys must be strings, but got {shown(key)}.")
        return str(self._scalar(key, path))

    def _scalar(self, value: object, path: KeyPath) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, numbers.Integral):
            return int(value)
        if isinstance(value, numbers.Real):
            number = float(value)
            if math.isnan(number):
                raise self._error(path, "must be a number, but got nan.")
            return number
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, type):
            return f"{value.__module__}.{value.__qualname__}"
        raise self._error(
            path, f"must be plain data (numbers, strings, booleans, None, lists, dicts), but got {shown(value)}."
        )

    def _text(self, value: str, path: KeyPath) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self._error(path, f"must be valid Unicode text, but got {shown(value)}.") from None
        return str(value)

    def _error(self, path: KeyPath, message: str) -> StudyDefinitionError:
        return StudyDefinitionError(message, key=dotted(path), file=self._file)

"""Which known name was probably meant by an unknown one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable

_CLOSE = 0.6
"""Share of equal characters from which names are close, as difflib counts it."""

_CLOSE_LAST = 0.5
"""The same of their last parts, since what stands before a dot is often alike throughout (``model.``)."""

_SHORTEST_BEGINNING = 3


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant by `name`, or None if none is near.

    That is the only one whose initials it is (``model.lr`` for ``model.learning_rate``) or that begins like it
    (``model.opt``), else the closest spelling, else the only one that has its words (``model.rate``).

    Args:
        name: An unknown name. Of its parts between dots, the last one tells most.
        known: Those that there are.
    """
    names = [str(each) for each in known]
    last = _last(name)
    return (
        _only(names, lambda other: last == _initials(other))
        or _only(names, lambda other: len(last) >= _SHORTEST_BEGINNING and _begins(last, other))
        or next((each for each in _by_closeness(name, names) if _ratio(last, _last(each)) >= _CLOSE_LAST), None)
        or _only(names, lambda other: bool(last) and set(_words(last)) < set(_words(_last(other))))
    )


def _only(names: list[str], is_meant: Callable[[str], bool]) -> str | None:
    meant = [each for each in names if is_meant(each)]
    return meant[0] if len(meant) == 1 else None


def _begins(last: str, other: str) -> bool:
    return last != _last(other) and _last(other).startswith(last)


def _by_closeness(name: str, names: list[str]) -> list[str]:
    return difflib.get_close_matches(name, names, n=max(len(names), 1), cutoff=_CLOSE)


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _words(part: str) -> list[str]:
    return [word for word in re.split(r"[_-]", part) if word]


def _initials(name: str) -> str | None:
    """Return the first letters of the words of the last part; None for a single word."""
    words = _words(_last(name))
    return "".join(word[0] for word in words) if len(words) > 1 else None

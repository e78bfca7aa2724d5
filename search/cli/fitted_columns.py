"""Columns of a table where there is little room: names break at their joints, and what matters less gives way."""

from __future__ import annotations

import re
from collections.abc import Sequence

Column = tuple[str, str, list[str]]
"""Title, justification (``left`` or ``right``) and cells."""

GAP = 2
"""Blanks between two columns."""

_NARROWEST_NAME = 12
_PIECE = re.compile(r"[^\s_-]*[\s_-]+|[^\s_-]+")


def width_of(columns: Sequence[Column]) -> int:
    """Return how wide columns are, with the gaps between them."""
    return sum(_width(column) for column in columns) + GAP * max(0, len(columns) - 1)


def fitted(
    columns: Sequence[Column], *, width: int, names: str, giving_way: Sequence[str] = ()
) -> tuple[list[Column], list[str]]:
    """Return the columns made to fit, with line breaks in their texts, and the titles of those left out.

    What does not fit first loses the columns of `giving_way`, then has titles broken at blanks and names at their
    joints. It is still too wide if figures and states, which are never cut, have no room.

    Args:
        columns: As they are where there is room.
        width: Columns of the terminal that there are.
        names: Title of the column whose cells may be broken.
        giving_way: Titles of those that may be left out, the least important first; some may not be there.
    """
    kept, left_out = list(columns), []
    for title in giving_way:
        if width_of(_narrowed(kept, names=names, at_most=0)) <= width:
            break
        left_out += [each[0] for each in kept if each[0] == title]
        kept = [each for each in kept if each[0] != title]
    if width_of(kept) <= width:
        return kept, left_out
    others = [each for each in _narrowed(kept, names=names, at_most=0) if each[0] != names]
    return _narrowed(kept, names=names, at_most=width - width_of(others) - GAP), left_out


def broken(name: str, *, at_most: int) -> str:
    """Return a name on lines of at most that many characters, broken after blanks, ``_`` and ``-``, else cut short."""
    lines = [""]
    for piece in _PIECE.findall(name):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > at_most:
            lines.append("")
        lines[-1] += piece
    shown = (line.rstrip() for line in lines)
    return "\n".join(line if len(line) <= at_most else line[: at_most - 1] + "…" for line in shown)


def _narrowed(columns: Sequence[Column], *, names: str, at_most: int) -> list[Column]:
    """Return the columns with titles broken at blanks, and names at joints, to `at_most` characters or their least."""
    return [
        (
            title.replace(" ", "\n"),
            justify,
            [broken(cell, at_most=max(at_most, _least(cells))) for cell in cells] if title == names else cells,
        )
        for title, justify, cells in columns
    ]


def _least(names: Sequence[str]) -> int:
    """Return how narrow a column of names may get: its longest piece, or what a longer one is cut to."""
    return min(
        _NARROWEST_NAME, max((len(piece.rstrip()) for each in names for piece in _PIECE.findall(each)), default=1)
    )


def _width(column: Column) -> int:
    title, _, cells = column
    return max(len(line) for text in (title, *cells) for line in (text.split("\n")))

"""A Python traceback cut down to the frames of the user's own files."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_FRAME = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+), in ')
_LIBRARY_FOLDERS = ("site-packages", "dist-packages")
_PACKAGE = Path(__file__).parent
_FOREIGN_ROOTS = tuple(
    Path(each).resolve()
    for each in (
        *(sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")),
        *(_PACKAGE, _PACKAGE.parent / "lightning_modules" / "callbacks"),
    )
)


def users_traceback(text: str) -> str:
    """Return the traceback without the frames of installed libraries, of Python itself and of zeroin.

    Each exception of a chain keeps its innermost frame, if none of its frames is in a file of the user's.

    Args:
        text: What ``traceback.format_exception`` gives, joined.
    """
    kept: list[str] = []
    frames: list[list[str]] = []
    for is_frame, lines in _blocks(text):
        if is_frame:
            frames.append(lines)
            continue
        kept += _chosen(frames)
        kept += lines
        frames = []
    return "\n".join([*kept, *_chosen(frames)]).strip("\n")


def raising_place(text: str) -> str:
    """Return ``file:line`` of the innermost frame of the user's, else of the innermost one; empty without frames."""
    frames = [lines for is_frame, lines in _blocks(text) if is_frame]
    own = [lines for lines in frames if _is_users(lines)] or frames
    found = _FRAME.match(own[-1][0]) if own else None
    return f"{found['file']}:{found['line']}" if found else ""


def _chosen(frames: list[list[str]]) -> list[str]:
    own = [lines for lines in frames if _is_users(lines)] or frames[-1:]
    return [line for lines in own for line in lines]


def _blocks(text: str) -> Iterator[tuple[bool, list[str]]]:
    """Split into frames, each with its lines of source, and what stands between them."""
    block: list[str] = []
    is_frame = False
    for line in text.splitlines():
        begins = _FRAME.match(line) is not None
        if begins or (is_frame and not line.startswith("    ")):
            if block:
                yield is_frame, block
            block, is_frame = [], begins
        block.append(line)
    if block:
        yield is_frame, block


def _is_users(frame: list[str]) -> bool:
    found = _FRAME.match(frame[0])
    if found is None or found["file"].startswith("<"):
        return False
    path = Path(found["file"]).resolve()
    return not any(part in _LIBRARY_FOLDERS for part in path.parts) and not any(
        path.is_relative_to(root) for root in _FOREIGN_ROOTS
    )

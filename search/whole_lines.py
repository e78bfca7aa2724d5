"""Append to files of lines so that a crash or a full disk leaves whole lines only."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import BinaryIO

_BLOCK_BYTES = 1 << 16


def append_whole(file: BinaryIO, content: bytes) -> None:
    """Append `content`, or nothing: what a full disk takes of it is taken back.

    Args:
        file: Open for reading and appending, unbuffered, and locked if there are other writers. A line without its
            end, which a crash left, is removed first.
        content: Whole lines.

    Raises:
        OSError: If it cannot be written.
    """
    size = drop_partial_line(file)
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        with suppress(OSError):  # if even that fails, the next writer removes the partial line
            file.truncate(size)
        raise


def drop_partial_line(file: BinaryIO) -> int:
    """Remove what follows the last newline and return the size in bytes that is left.

    Raises:
        OSError: If the file cannot be read or written.
    """
    size = file.seek(0, os.SEEK_END)
    whole = size
    while whole > 0:
        start = max(0, whole - _BLOCK_BYTES)
        file.seek(start)
        newline = file.read(whole - start).rfind(b"\n")
        whole = start + newline + 1
        if newline >= 0:
            break
    if whole < size:
        file.truncate(whole)
    return whole

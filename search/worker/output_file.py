"""Keep what user code prints away from the coordinator's terminal, and within bounds."""

from __future__ import annotations

import io
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

MOST_BYTES = 16 << 20
"""Size at which an output file is cut down to its beginning and its end."""

_KEPT_BYTES = 1 << 20
_LOOK_SECONDS = 0.25


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Append everything that this process and its children write to stdout and stderr to a file.

    Works on the descriptors, so that output of C libraries and of loader workers goes there too.

    Args:
        path: The file; created if it is missing. If it cannot be written, output stays where it went before.
    """
    try:
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError:
        yield
        return
    kept = [os.dup(1), os.dup(2)]
    _flush()
    try:
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        _flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for descriptor in (*kept, target):
            os.close(descriptor)
        with suppress(OSError), path.open("r+b") as file:  # it may have ended before `bound_output` looked
            cut_down(file.fileno(), most_bytes=MOST_BYTES, kept_bytes=_KEPT_BYTES)


def forgiving_streams() -> tuple[TextIO, TextIO]:
    """Return line-buffered stdout and stderr that drop what cannot be written: a full disk is no reason to raise."""
    out, error = (
        io.TextIOWrapper(
            io.BufferedWriter(_ForgivingFile(descriptor, "wb", closefd=False)),
            encoding="utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )
        for descriptor in (1, 2)
    )
    return out, error


def bound_output(*, most_bytes: int = MOST_BYTES, kept_bytes: int = _KEPT_BYTES) -> None:
    """Keep the file that descriptor 1 refers to, whichever that is at the time, within bounds from now on.

    Everybody who writes to it must append (`os.O_APPEND`). Anything but a regular file is left alone.

    Args:
        most_bytes: See `cut_down`; what is written within a quarter of a second may come on top.
        kept_bytes: See `cut_down`.
    """
    threading.Thread(target=_keep_bounded, args=(most_bytes, kept_bytes), name="output-bound", daemon=True).start()


def cut_down(descriptor: int, *, most_bytes: int, kept_bytes: int) -> None:
    """Replace the middle of a file by a note if the file has grown too large; what is written meanwhile is lost.

    Args:
        descriptor: Of a file, open for reading and writing, not for appending.
        most_bytes: Size that is left as it is.
        kept_bytes: What stays of the beginning and of the end, less than half of `most_bytes`.

    Raises:
        OSError: If it cannot be read or written.
    """
    size = os.fstat(descriptor).st_size
    if size <= most_bytes:
        return
    end = os.pread(descriptor, kept_bytes, size - kept_bytes)
    note = f"\n[… {size - 2 * kept_bytes} bytes left out …]\n".encode()
    os.pwrite(descriptor, note + end, kept_bytes)
    os.ftruncate(descriptor, kept_bytes + len(note) + len(end))


class _ForgivingFile(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _keep_bounded(most_bytes: int, kept_bytes: int) -> None:
    pause = threading.Event()
    while not pause.wait(_LOOK_SECONDS):
        # Closed by user code, or the disk is full: cutting down needs no room, the next one may.
        with suppress(OSError):
            status = os.fstat(1)
            if stat.S_ISREG(status.st_mode) and status.st_size > most_bytes:
                descriptor = os.open("/proc/self/fd/1", os.O_RDWR | os.O_CLOEXEC)
                try:
                    cut_down(descriptor, most_bytes=most_bytes, kept_bytes=kept_bytes)
                finally:
                    os.close(descriptor)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # user code closed it
            stream.flush()

"""A directory for what user code may write in a dry run or a test, which no killed worker leaves behind for good."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "zeroin-scratch-"


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Make a temporary directory, remove it on leaving, and remove those that killed processes left before.

    A process holds a lock on its directory; the system drops it however the process ends. So what can be locked is
    nobody's any more, which a process id could not tell where containers share a directory for temporary files.

    Yields:
        An empty directory of this process alone.

    Raises:
        OSError: If no directory can be made.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _remove_if_abandoned(left)
    path, descriptor = _make_locked()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _make_locked() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # Before the lock is taken, another process may find the directory abandoned, and lock and remove it.
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # where nothing can be locked, nothing is ever taken for abandoned
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists():
                return path, descriptor
            os.close(descriptor)


def _remove_if_abandoned(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return  # gone already, no directory, or another user's
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        pass  # in use
    finally:
        os.close(descriptor)

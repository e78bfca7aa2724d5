"""The lease of a coordinator on its study: two coordinators can never work on one study."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from search.errors import StateError, StudyConflictError

_LOOK_SECONDS = 0.5


class Lease:
    """An exclusive lock on a file, held until `release` or the death of the process, however it dies.

    Args:
        path: The file; its directory must exist.
        study: Name of the study, for the message.

    Raises:
        StudyConflictError: If another process holds it; the message says which, where and since when.
        StateError: If the file cannot be written.
    """

    def __init__(self, path: Path, *, study: str) -> None:
        try:
            self._file: BinaryIO = path.open("a+b")
        except OSError as error:
            raise StateError(f"the lease {path} cannot be written: {error.strerror or error}.") from error
        if not _locked_in_time(self._file):
            holder = _holder(self._file)
            self._file.close()
            raise StudyConflictError(
                f"study {study!r} is being run by process {holder.get('pid', '?')} on {holder.get('host', '?')} "
                f"since {holder.get('since', '?')}. Wait for it, stop it, or start another study with --new."
            )
        holder = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        try:
            self._file.truncate(0)
            self._file.write(json.dumps(holder).encode())
            self._file.flush()
        except OSError as error:
            with suppress(OSError):  # closing writes what is buffered once more
                self._file.close()
            raise StateError(f"the lease {path} cannot be written: {error.strerror or error}.") from error

    def release(self) -> None:
        """Give the lease back."""
        self._file.close()


def is_held(path: Path) -> bool:
    """Whether some process holds the lease right now."""
    try:
        with path.open("rb") as file:
            return not _try_lock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _locked_in_time(file: BinaryIO) -> bool:
    """Take the lock; one that is only being looked at (`is_held`) is free again in a moment."""
    deadline = time.monotonic() + _LOOK_SECONDS
    while not _try_lock(file, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS / 20)
    return True


def _try_lock(file: BinaryIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: BinaryIO) -> dict[str, Any]:
    file.seek(0)
    try:
        holder = json.loads(file.read())
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}

"""Optuna's journal in a file, appended without waiting for the disk and without locks that outlive their owner.

The format is that of Optuna's own ``JournalFileBackend``, so that every Optuna tool reads the file. What differs: the
lock is the operating system's (`flock`), which the death of a process releases at once; a line that a crash cut short
is dropped by the next writer; and the disk is waited for only when `sync` is called, since all that follows a trial's
creation can be rebuilt from its epoch log.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from search.errors import StateError
from search.whole_lines import append_whole


class JournalFile(BaseJournalBackend):
    """A backend for ``optuna.storages.JournalStorage``.

    Args:
        path: The file; made if it does not exist, its directory must.

    Raises:
        OSError: If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets = [0]  # of each line read so far, and of the next one
        path.open("ab").close()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield the entries from that number on; a line without its end is being written, or a crash's, and is left.

        Raises:
            StateError: If a whole line is no entry.
        """
        start = min(log_number_from, len(self._offsets) - 1)
        with self._path.open("rb") as file:
            file.seek(self._offsets[start])
            for number, line in enumerate(file, start=start):
                if not line.endswith(b"\n"):
                    return
                if number + 1 == len(self._offsets):
                    self._offsets.append(self._offsets[number] + len(line))
                if number >= log_number_from:
                    yield self._entry(line, number=number)

    def _unwritable(self, error: OSError) -> StateError:
        return StateError(f"the Optuna journal {self._path} cannot be written: {error.strerror or error}.")

    def _entry(self, line: bytes, *, number: int) -> dict[str, Any]:
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and "op_code" in entry:
                return entry
        raise StateError(
            f"{self._path}:{number + 1}: not an entry of an Optuna journal: {line[:120]!r}. Restore the file from a "
            "copy, or move it away to begin anew."
        )

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write the entries, each on a line, all of them or none.

        Raises:
            StateError: If they cannot be written.
        """
        content = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        try:
            with self._path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                append_whole(file, content)
        except OSError as error:
            raise self._unwritable(error) from error

    def sync(self) -> None:
        """Wait until all that was written is on the disk.

        Raises:
            StateError: If it does not get there.
        """
        try:
            with self._path.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

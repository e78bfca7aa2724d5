"""Disks that are full when a test says so."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond that size inside the block; a write across it is cut short."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class SmallDisk:
    """A file system of its own, of a few MB.

    Attributes:
        root: Where it is mounted.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._filler = root / "filler"

    def fill(self, *, free_bytes: int = 0) -> None:
        """Take all of its room but `free_bytes`."""
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1 << 12)):
                pass
        if free_bytes:
            with self._filler.open("r+b") as file:
                file.truncate(max(0, self._filler.stat().st_size - free_bytes))

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink()


@contextmanager
def small_disk(root: Path, *, n_megabytes: int) -> Iterator[SmallDisk]:
    """Mount a file system in memory at `root`, which must not exist."""
    with mounted(root, options=f"size={n_megabytes}m"):
        yield SmallDisk(root)


@contextmanager
def mounted(root: Path, *, options: str) -> Iterator[None]:
    """Mount a file system in memory at `root`, which must not exist; the test is skipped where that is not allowed."""
    root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(root)]
    done = subprocess.run(command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False)
    if done.returncode and (sys.platform != "linux" or re.search("permission denied|superuser", done.stderr)):
        pytest.skip("mounting a file system takes Linux and root")
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)

"""Where the files of a data set are looked for, and what is said if they are not there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from lightning_modules.arguments import UnfitArgumentError


def check_directory(directory: str | os.PathLike[str], *, name: str = "directory") -> Path:
    """Return an init argument that names a place for files, as an absolute path; nothing is looked up there.

    Args:
        directory: May begin with ``~``; a relative one is taken from the working directory.
        name: How the argument is called.

    Raises:
        ValueError: If it is no path, or empty.
    """
    if not isinstance(directory, str | os.PathLike) or not os.fspath(directory):
        raise ValueError(f"`{name}` must be the path of a directory, but got {directory!r}.")
    return Path(directory).expanduser().absolute()


def find_file(folders: Iterable[Path], names: Sequence[str]) -> Path | None:
    """Return the first file that there is: of all names in the first folder, then in the next; None without one."""
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)


def missing_files(data_set: str, directory: Path, *, expected: str, published_at: str) -> UnfitArgumentError:
    """Say that a data set is not where it should be.

    Args:
        data_set: How people call it.
        directory: Where it was looked for.
        expected: Which files should be there.
        published_at: Where they can be had.
    """
    there = "which does not exist" if not directory.exists() else "which has not all of its files"
    return UnfitArgumentError(
        f"{data_set} was looked for in {directory}, {there}. Expected: {expected}. Nothing is downloaded from here; "
        f"it is published at {published_at}",
        owner="data",
        argument="directory",
    )


def damaged_file(path: Path, reason: object) -> UnfitArgumentError:
    """Say that a file is there, but not what it should be."""
    return UnfitArgumentError(f"{path} cannot be used: {reason}.", owner="data", argument="directory")

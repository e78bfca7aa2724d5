"""The file of a packaged model: what is beside the model in it, and where it goes."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.checkpoint_store import CheckpointStore
from search.errors import SearchError
from search.model_package import CODE, EXAMPLES_NAME
from search.worker import packaged_model


def write_code(directory: Path, users: Mapping[str, Path]) -> str:
    """Write the Python files.

    Args:
        directory: Of the package.
        users: Those of the user's, by their place on the import path.

    Returns:
        Name of the module that loads the model. Models of several versions of zeroin may be loaded in one process,
        where a module is what its name says, so the name tells the contents.
    """
    source = Path(packaged_model.__file__).read_bytes()
    loader = f"zeroin_model_{hashlib.sha256(source).hexdigest()[:12]}"
    folder = directory / CODE
    folder.mkdir()
    (folder / f"{loader}.py").write_bytes(source)
    for name, file in users.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / name)
    return loader


def write_examples(directory: Path, images: NDArray[np.generic]) -> None:
    """Write the images that the model can be tried out with."""
    np.save(directory / EXAMPLES_NAME, images)


def pinned(names: Sequence[str]) -> tuple[str, ...]:
    """Return packages as requirements of the versions that are installed here."""
    return tuple(f"{name}=={version(name).partition('+')[0]}" for name in names)


def zipped(directory: Path, path: Path) -> Path:
    """Put all of a package into one file; its weights would hardly become smaller by compressing them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(directory.rglob("*")):
            archive.write(file, file.relative_to(directory).as_posix())
    return path


def deliver(written: Path, target: Path, *, url: str) -> None:
    """Put the file where the coordinator looks for it, whole or not at all.

    Args:
        written: The file, of the same name.
        target: Its place.
        url: Of a directory to put it into where this machine does not see the place; empty if there is none.

    Raises:
        SearchError: If this machine does not see the place, or the store behind the URL does not take it.
    """
    if target.parent.is_dir():
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        try:
            shutil.copyfile(written, temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    elif url:
        CheckpointStore(url).put(written)
    else:
        raise SearchError(f"{socket.gethostname()} does not see {target.parent}, where the packaged model is to go.")

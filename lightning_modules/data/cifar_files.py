"""CIFAR's files as they are published: two archives a data set, unpacked or not."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from lightning_modules.data.cifar_pickles import CifarPickleError, read_batch
from lightning_modules.data.data_files import damaged_file
from lightning_modules.data.image_data import LabelledImages

_SIDE = 32
_N_VALUES = 3 * _SIDE * _SIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class CifarFiles:
    """One published version of a CIFAR data set.

    Attributes:
        archive: Name of the archive.
        folder: Name of the folder in it.
        train: Names of the files with the images to train on, in order.
        test: Name of the file with the others.
        label_key: In the Python version: under which key the labels are; empty in the binary version.
        label_byte: In the binary version: which byte of an image's record is its label.
        n_label_bytes: In the binary version: how many bytes come before the pixels.
    """

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    label_key: str = ""
    label_byte: int = 0
    n_label_bytes: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """All files, the test's last."""
        return (*self.train, self.test)


@dataclass(frozen=True, slots=True, kw_only=True)
class CifarPlace:
    """Where a version was found: in a folder, or in an archive.

    Attributes:
        files: The version.
        path: The folder or the archive.
    """

    files: CifarFiles
    path: Path


def find_cifar(directory: Path, versions: tuple[CifarFiles, ...]) -> CifarPlace | None:
    """Look for all files of a version in a directory, in its folder there, and for its archive there."""
    for files in versions:
        for folder in (directory, directory / files.folder):
            if all((folder / name).is_file() for name in files.names):
                return CifarPlace(files=files, path=folder)
    for files in versions:
        if (directory / files.archive).is_file():
            return CifarPlace(files=files, path=directory / files.archive)
    return None


@lru_cache(maxsize=1)
def read_cifar(place: CifarPlace) -> LabelledImages:
    """Read the images to train on, then those of the test, in the order of the files.

    What was read last is kept, since trials come one after another.

    Returns:
        Images ``(N, 3, 32, 32)`` of 8-bit integers, red, green, blue.

    Raises:
        UnfitArgumentError: If a file is damaged.
    """
    contents = _from_archive(place) if place.path.is_file() else _from_folder(place)
    parts = [_part(contents[name], place, name) for name in place.files.names]
    images = np.concatenate([images for images, _ in parts]).reshape(-1, 3, _SIDE, _SIDE)
    labels = np.concatenate([labels for _, labels in parts])
    is_test = np.arange(len(labels)) >= len(labels) - len(parts[-1][1])
    return LabelledImages(images=images, labels=labels, is_test=is_test)


def _from_folder(place: CifarPlace) -> dict[str, bytes]:
    return {name: (place.path / name).read_bytes() for name in place.files.names}


def _from_archive(place: CifarPlace) -> dict[str, bytes]:
    """Read the files in memory: nothing is unpacked."""
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(place.path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in place.files.names and member.isfile() and (file := archive.extractfile(member)) is not None:
                    contents[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise damaged_file(place.path, f"it is not all of an archive ({error})") from error
    missing = [name for name in place.files.names if name not in contents]
    if missing:
        raise damaged_file(place.path, f"it does not hold {', '.join(missing)}")
    return contents


def _part(content: bytes, place: CifarPlace, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images ``(n, 3072)`` and labels ``(n,)`` of one file."""
    path = place.path / name
    if place.files.label_key:
        return _pickled(content, place.files.label_key, path)
    record = place.files.n_label_bytes + _N_VALUES
    if not content or len(content) % record:
        raise damaged_file(path, f"its size must be a multiple of {record} bytes, an image's, but is {len(content)}")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    labels = records[:, place.files.label_byte].astype(np.int64)
    return records[:, place.files.n_label_bytes :], labels


def _pickled(content: bytes, label_key: str, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        batch = read_batch(content)
    except CifarPickleError as error:
        raise damaged_file(path, error) from error
    images, labels = batch.get("data"), batch.get(label_key)
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != _N_VALUES:
        raise damaged_file(path, f"it has no images of {_N_VALUES} values under 'data'")
    if not isinstance(labels, list) or len(labels) != len(images) or not all(type(each) is int for each in labels):
        raise damaged_file(path, f"it has no list of {len(images)} integers under {label_key!r}")
    return images, np.array(labels, dtype=np.int64)

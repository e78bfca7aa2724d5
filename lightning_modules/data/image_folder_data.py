"""Images in folders, one a class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lightning_modules.arguments import UnfitArgumentError, check_count
from lightning_modules.data.data_files import check_directory
from lightning_modules.data.image_files import MODES, SUFFIXES, FileSource, ImageShape
from lightning_modules.data.image_source import LabelledSource
from lightning_modules.data.streamable_data import StreamableImageDataModule

_SPLITS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What the folders of splits may be called."""


class ImageFolderDataModule(StreamableImageDataModule):
    """Image files in one folder a class, as ``cat/1.jpg`` and ``dog/2.png``; pixels in ``[0, 255]``.

    Classes are numbered in the alphabetical order of their folders. If `directory` holds nothing but ``train`` and
    ``val`` or ``test`` (or both), the classes' folders are in these, and the splits are the data set's own; one that is
    not there is drawn from ``train``. Files in folders below a class belong to it; what is no image, and what is
    hidden, is left alone.

    Consecutive images are of mixed classes: their order is that of a hash of their paths in `directory`.

    Attributes:
        class_names: Names of the folders, in the order of the labels.
    """

    def __init__(
        self,
        *,
        directory: str,
        image_size: int | Sequence[int] | None = None,
        channels: int = 3,
        **image_data: Any,
    ) -> None:
        """Keep the settings.

        Args:
            directory: What holds the folders.
            image_size: Height and width in pixels, or one number for both: each image is scaled so that it just covers
                that size, and cropped to its middle. None if all are of one size, which they keep.
            channels: 3 (colour) or 1 (grey); images are converted.
            image_data: Whether to keep all in memory, loader processes, splits, preprocessing, augmentation, batches,
                as for `StreamableImageDataModule`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__(**image_data)
        self.directory = check_directory(directory)
        self.shape = image_shape(image_size, channels=channels)

    @property
    def class_names(self) -> tuple[str, ...]:
        return _listed(self.directory)[0]

    def open(self) -> LabelledSource:
        """List the files.

        Raises:
            UnfitArgumentError: If there are no such folders, or no images in one of them.
        """
        return _opened(self.directory, self.shape)


def image_shape(image_size: int | Sequence[int] | None, *, channels: int) -> ImageShape:
    """Return what the two init arguments of these names say.

    Raises:
        ValueError: If one is out of its bounds.
    """
    if channels not in MODES or isinstance(channels, bool):
        raise ValueError(f"`channels` must be 1 (grey) or 3 (colour), but got {channels!r}.")
    if image_size is None:
        return ImageShape(channels=channels)
    size = tuple(image_size) if isinstance(image_size, list | tuple) else (image_size, image_size)
    if len(size) != 2:
        raise ValueError(f"`image_size` must be one number or height and width, but got {image_size!r}.")
    for pixels in size:
        check_count(pixels, name="image_size", at_least=1)
    return ImageShape(channels=channels, height=size[0], width=size[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """One file.

    Attributes:
        path: In the directory, with slashes.
        label: Its class.
        split: ``train``, ``val`` or ``test``.
    """

    path: str
    label: int
    split: str


@lru_cache(maxsize=1)
def _opened(directory: Path, shape: ImageShape) -> LabelledSource:
    _, images = _listed(directory)
    splits = [each.split for each in images]
    return LabelledSource(
        source=FileSource([directory / each.path for each in images], shape),
        labels=np.array([each.label for each in images], dtype=np.int64),
        is_val=np.array([each == "val" for each in splits]) if "val" in splits else None,
        is_test=np.array([each == "test" for each in splits]) if "test" in splits else None,
    )


@lru_cache(maxsize=1)
def _listed(directory: Path) -> tuple[tuple[str, ...], tuple[_Image, ...]]:
    """Return the names of the classes, and the images."""
    if not directory.is_dir():
        raise _unfit(directory, "it does not exist" if not directory.exists() else "it is no directory")
    names = _folders(directory)
    folders = {_SPLITS[name]: directory / name for name in names if name in _SPLITS}
    if "train" not in folders or len(folders) < len(names):
        folders = {"train": directory}
    classes = tuple(_folders(folders["train"]))
    if len(classes) < 2:
        raise _unfit(
            directory, f"there must be two classes at least, but {folders['train']} holds {len(classes)} folders"
        )
    images: list[_Image] = []
    for split, folder in folders.items():
        strange = [name for name in _folders(folder) if name not in classes]
        if strange:
            raise _unfit(directory, f"{folder} has classes that {folders['train']} has not: {', '.join(strange)}")
        for label, name in enumerate(classes):
            paths = [path.relative_to(directory).as_posix() for path in _image_files(folder / name)]
            if split == "train" and not paths:
                raise _unfit(directory, f"{folder / name} holds no image ({', '.join(SUFFIXES)})")
            images += [_Image(path=path, label=label, split=split) for path in paths]
    # In the order of the classes, a few consecutive batches would be of a few classes, and no measure of all.
    images.sort(key=lambda each: hashlib.blake2b(each.path.encode(), digest_size=8).digest())
    return classes, tuple(images)


def _folders(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir() if each.is_dir() and not each.name.startswith((".", "__")))


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _unfit(directory: Path, reason: str) -> UnfitArgumentError:
    return UnfitArgumentError(
        f"{directory} is no directory of classes: {reason}. Expected: a folder for each class with its images in it "
        "(cat/1.jpg, dog/2.jpg), or folders train and val or test with these in them.",
        owner="data",
        argument="directory",
    )

"""Images and labels in NumPy's own files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_modules.arguments import UnfitArgumentError, check_choice
from lightning_modules.data.data_files import check_directory, damaged_file
from lightning_modules.data.image_source import ImageSource, JoinedSource, LabelledSource
from lightning_modules.data.streamable_data import StreamableImageDataModule

LAYOUTS: tuple[str, ...] = ("auto", "channels_first", "channels_last")
"""In which order the axes of an array of images may be."""

_NAMES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "train": (("images", "labels"), ("train_images", "train_labels"), ("x_train", "y_train")),
    "val": (("val_images", "val_labels"), ("x_val", "y_val")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
"""What the arrays of images and of labels of each split may be called; MedMNIST and Keras have the later ones."""

_MOST_CHANNELS = 4


class NumpyDataModule(StreamableImageDataModule):
    """Arrays of images and of labels, in an ``.npz`` file or in ``.npy`` files, in their own unit.

    They are called ``images`` and ``labels``; those that the data set itself sets apart ``val_images`` and
    ``val_labels``, ``test_images`` and ``test_labels`` (``train_images``, ``x_train`` and so on are understood too).
    Images are ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)`` of any real type, labels integers from 0 on, ``(N,)``
    or ``(N, 1)``. What is streamed is read from ``.npy`` files as needed, while an ``.npz`` file is read into the
    host's memory as a whole.
    """

    def __init__(self, *, directory: str, layout: str = "auto", **image_data: Any) -> None:
        """Keep the settings.

        Args:
            directory: What holds the ``.npy`` files or a single ``.npz`` file, or that file itself.
            layout: Of arrays with four axes: ``channels_first``, ``channels_last``, or ``auto``: the one of the two in
                which there are at most 4 channels.
            image_data: Whether to keep all in memory, loader processes, splits, preprocessing, augmentation, batches,
                as for `StreamableImageDataModule`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__(**image_data)
        self.directory = check_directory(directory)
        check_choice(layout, name="layout", choices=LAYOUTS)
        self.layout = layout

    def open(self) -> LabelledSource:
        """Open the files.

        Raises:
            UnfitArgumentError: If they are missing, damaged or of other shapes.
        """
        return _opened(self.directory, self.layout)


class _ArraySource(ImageSource):
    """An array in memory, or one of an ``.npy`` file, which each process opens for itself."""

    def __init__(self, array: NDArray[np.generic] | Path, *, layout: str) -> None:
        self._path = array if isinstance(array, Path) else None
        self._array = _loaded(array) if isinstance(array, Path) else array
        self._channels_last = self._array.ndim == 4 and layout == "channels_last"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        n, *size = self._array.shape
        if len(size) == 2:
            return n, 1, size[0], size[1]
        return (n, size[2], size[0], size[1]) if self._channels_last else (n, size[0], size[1], size[2])

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.generic]:
        images = _computable(np.asarray(self._array[indices]))
        if images.ndim == 3:
            return images[:, np.newaxis]
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if self._channels_last else images

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a file holds: pickled, a mapped array would be copied as a whole."""
        return vars(self) | ({} if self._path is None else {"_array": None})

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._path is not None:
            self._array = _loaded(self._path)


@lru_cache(maxsize=1)
def _opened(directory: Path, layout: str) -> LabelledSource:
    arrays = _arrays(directory)
    sources, labels, splits = [], [], []
    for split, spellings in _NAMES.items():
        found = next((pair for pair in spellings if pair[0] in arrays and pair[1] in arrays), None)
        if found is None:
            continue
        images_name, labels_name = found
        images = arrays[images_name]
        axes = _layout(_values(images), layout, name=f"{directory}: {images_name}")
        part = _ArraySource(images, layout=axes)
        labels.append(_labels(_values(arrays[labels_name]), part.shape[0], name=f"{directory}: {labels_name}"))
        sources.append(part)
        splits += [split] * part.shape[0]
    if "train" not in splits:
        raise _missing(directory, f"of what it takes, there is {', '.join(sorted(arrays)) or 'nothing'}")
    try:
        source = JoinedSource(sources)
    except ValueError as error:
        raise damaged_file(directory, str(error).rstrip(".")) from error
    which = np.array(splits)
    return LabelledSource(
        source=source,
        labels=np.concatenate(labels),
        is_val=which == "val" if "val" in splits else None,
        is_test=which == "test" if "test" in splits else None,
    )


def _arrays(directory: Path) -> dict[str, NDArray[np.generic] | Path]:
    """Return the arrays that there are, those of ``.npy`` files as paths."""
    known = {name for spellings in _NAMES.values() for pair in spellings for name in pair}
    archives = [directory] if directory.is_file() else sorted(directory.glob("*.npz"))
    if len(archives) > 1:
        names = ", ".join(each.name for each in archives)
        raise _missing(directory, f"there are several .npz files ({names}), and one must be named")
    if not archives:
        return {path.stem: path for path in sorted(directory.glob("*.npy")) if path.stem in known}
    try:
        with np.load(archives[0]) as archive:
            return {name: archive[name] for name in archive.files if name in known}
    except Exception as error:  # damaged files raise almost anything
        raise damaged_file(archives[0], f"it is no .npz file of plain arrays ({error})") from error


def _loaded(path: Path) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(path, mmap_mode="r")
    except Exception as error:  # damaged files raise almost anything
        raise damaged_file(path, f"it is no .npy file of a plain array ({error})") from error
    return array


def _computable(images: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the same values in a type that torch computes with: in the machine's byte order, of a width it has."""
    kind, n_bytes = images.dtype.kind, images.dtype.itemsize
    if kind == "u" and n_bytes > 1:
        return images.astype({2: np.int32, 4: np.int64}.get(n_bytes, np.float64))
    if kind == "f" and n_bytes > np.dtype(np.float64).itemsize:
        return images.astype(np.float64)
    return images.astype(images.dtype.newbyteorder("="), copy=False)


def _values(array: NDArray[np.generic] | Path) -> NDArray[np.generic]:
    return _loaded(array) if isinstance(array, Path) else array


def _layout(images: NDArray[np.generic], layout: str, *, name: str) -> str:
    if images.ndim not in (3, 4) or images.dtype.kind not in "uifb" or 0 in images.shape:
        raise UnfitArgumentError(
            f"{name} must be real numbers of shape (N, H, W), (N, C, H, W) or (N, H, W, C), but is {images.dtype} of "
            f"shape {images.shape}.",
            owner="data",
            argument="directory",
        )
    if images.ndim == 3 or layout != "auto":
        return layout
    first, last = images.shape[1] <= _MOST_CHANNELS, images.shape[3] <= _MOST_CHANNELS
    if first == last:
        raise UnfitArgumentError(
            "`layout` must be channels_first or channels_last where the shape does not tell: "
            f"{name} has shape {images.shape}.",
            owner="data",
            argument="layout",
        )
    return "channels_first" if first else "channels_last"


def _labels(labels: NDArray[np.generic], n_images: int, *, name: str) -> NDArray[np.int64]:
    flat = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.shape != (n_images,) or flat.dtype.kind not in "ui" or int(flat.min()) < 0:
        raise UnfitArgumentError(
            f"{name} must be {n_images} integers from 0 on, one an image, but is {labels.dtype} of shape {labels.shape}"
            + (f" from {labels.min()} on." if labels.dtype.kind in "ui" and labels.size else "."),
            owner="data",
            argument="directory",
        )
    return flat.astype(np.int64)


def _missing(directory: Path, reason: str) -> UnfitArgumentError:
    return UnfitArgumentError(
        f"There are no arrays to train on in {directory}: {reason}. Expected: one .npz file with arrays images and "
        "labels, or images.npy and labels.npy; beside them val_images, val_labels, test_images, test_labels if the "
        "data set has splits of its own.",
        owner="data",
        argument="directory",
    )

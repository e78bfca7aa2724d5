"""Any of torchvision's data sets of labelled images, by the name of its class."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightning_modules.arguments import UnfitArgumentError, check_choice
from lightning_modules.data.data_files import check_directory
from lightning_modules.data.image_files import ImageShape, image_array
from lightning_modules.data.image_folder_data import image_shape
from lightning_modules.data.image_source import ImageSource, JoinedSource, LabelledSource
from lightning_modules.data.streamable_data import StreamableImageDataModule

_SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "trainval"),
    "val": ("val", "valid"),
    "test": ("test",),
}
"""What the classes that take a ``split`` call them."""

_LABEL_ATTRIBUTES = ("targets", "labels", "_labels")
"""Where most of the classes keep all labels, which saves reading all images for them."""


class TorchvisionDataModule(StreamableImageDataModule):
    """A data set of ``torchvision.datasets``, of pairs of an image and a class; needs the extra ``vision``.

    Splits that the class knows (by its argument ``train`` or ``split``) are the data set's own; the others are drawn.
    Images become 8-bit integers, ``(N, C, H, W)``.
    """

    def __init__(
        self,
        *,
        dataset: str,
        directory: str,
        arguments: Mapping[str, Any] | None = None,
        download: bool = False,
        image_size: int | Sequence[int] | None = None,
        channels: int = 3,
        **image_data: Any,
    ) -> None:
        """Keep the settings.

        Args:
            dataset: Name of the class, such as ``CIFAR10``, ``EMNIST``, ``STL10``, ``FakeData``.
            directory: Its ``root``: where its files are, as torchvision keeps them.
            arguments: Its other arguments, such as ``{split: letters}`` of ``EMNIST``.
            download: Whether torchvision may fetch missing files from the network.
            image_size: As for `ImageFolderDataModule`.
            channels: Likewise.
            image_data: Whether to keep all in memory, loader processes, splits, preprocessing, augmentation, batches,
                as for `StreamableImageDataModule`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__(**image_data)
        if not isinstance(dataset, str) or not dataset.isidentifier():
            raise ValueError(f"`dataset` must be the name of a class of torchvision.datasets, but got {dataset!r}.")
        if not isinstance(download, bool):
            raise ValueError(f"`download` must be true or false, but got {download!r}.")
        self.dataset = dataset
        self.directory = check_directory(directory)
        self.arguments = dict(arguments or {})
        self.download = download
        self.shape = image_shape(image_size, channels=channels)

    def prepare_data(self) -> None:
        """Let torchvision download what is missing, if it may; Lightning calls this in one process of a machine.

        Raises:
            UnfitArgumentError: If there is no torchvision or no such class, or it does not find its files.
        """
        if self.download:
            self.open()

    def open(self) -> LabelledSource:
        """Make the data sets.

        Raises:
            UnfitArgumentError: If there is no torchvision or no such class, or it does not find its files.
        """
        arguments = json.dumps(self.arguments, sort_keys=True, default=repr)
        if _OPENED.get("from") != (key := (self.dataset, self.directory, arguments, self.shape)):
            _OPENED.clear()
            cls = _dataset_class(self.dataset)
            options = self.arguments | ({"download": True} if self.download and _takes(cls, "download") else {})
            splits = _splits(cls, self.directory, options)
            _OPENED.update({"from": key, "opened": _labelled(splits, self.shape)})
        opened: LabelledSource = _OPENED["opened"]
        return opened


_OPENED: dict[str, Any] = {}
"""What was opened last in this process, since trials come one after another."""


class _DatasetSource(ImageSource):
    """Items of a torchvision data set; the first one is read if the shape does not say the size."""

    def __init__(self, dataset: Any, shape: ImageShape) -> None:
        self._dataset = dataset
        self._asked = shape
        self._size = self._read_one(0).shape

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self._dataset), self._size[0], self._size[1], self._size[2]

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = np.empty((len(indices), *self._size), dtype=np.uint8)
        for row, index in enumerate(indices.tolist()):
            image = self._read_one(index)
            if image.shape != self._size:
                raise UnfitArgumentError(
                    f"`image_size` must be given where images differ in size: (C, H, W) is {self._size} of the first "
                    f"one, {image.shape} of number {index}.",
                    owner="data",
                    argument="image_size",
                )
            images[row] = image
        return images

    def _read_one(self, index: int) -> NDArray[np.uint8]:
        image = self._dataset[index][0]
        if not isinstance(image, Image.Image):
            raise UnfitArgumentError(
                f"`dataset` must yield images, but {type(self._dataset).__name__} yields {type(image).__name__}.",
                owner="data",
                argument="dataset",
            )
        try:
            return image_array(image, self._asked)
        except ValueError as error:
            raise UnfitArgumentError(
                f"`dataset` must yield images of 8 or 16 bits, but number {index}: {error}.",
                owner="data",
                argument="dataset",
            ) from error


def _datasets() -> Any:
    try:
        from torchvision import datasets  # here alone, since it is an extra
    except ImportError as error:
        raise UnfitArgumentError(
            f"torchvision is not installed ({error}): pip install 'zeroin[vision]'.", owner="data", argument="dataset"
        ) from error
    return datasets


def _dataset_class(name: str) -> Any:
    datasets = _datasets()
    try:
        check_choice(name, name="dataset", choices=sorted(datasets.__all__))
    except ValueError as error:
        raise UnfitArgumentError(str(error), owner="data", argument="dataset") from error
    return getattr(datasets, name)


def _takes(cls: Any, argument: str) -> bool:
    """Whether the class or, where it passes keywords on, a base class of it takes an argument."""
    for owner in cls.__mro__:
        if "__init__" not in vars(owner):
            continue
        parameters = inspect.signature(vars(owner)["__init__"]).parameters
        if argument in parameters:
            return True
        if all(each.kind is not each.VAR_KEYWORD for each in parameters.values()):
            return False
    return False


def _splits(cls: Any, directory: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Make the data set of each split that the class knows; ``train`` is one of them."""
    if _takes(cls, "root"):
        options = {"root": str(directory), **options}
    if _takes(cls, "train") and "train" not in options:
        return {name: _made(cls, {**options, "train": name == "train"}) for name in ("train", "test")}
    if not _takes(cls, "split") or "split" in options:
        return {"train": _made(cls, options)}
    found = {}
    for split, names in _SPLIT_NAMES.items():
        for name in names:
            try:
                found[split] = _made(cls, {**options, "split": name})
                break
            except UnfitArgumentError as error:
                is_unknown = isinstance(error.__cause__, ValueError)  # by which the classes refuse a split's name
                if not is_unknown or (split == "train" and name == names[-1]):
                    raise
    return found


def _made(cls: Any, options: Mapping[str, Any]) -> Any:
    try:
        return cls(**options)
    except Exception as error:  # the classes raise RuntimeError, FileNotFoundError and others for missing files
        shown = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise UnfitArgumentError(
            f"torchvision.datasets.{cls.__name__}({shown}) raised {type(error).__name__}: {error} (nothing is "
            "downloaded unless `download` is true)",
            owner="data",
            argument="arguments" if isinstance(error, TypeError) else "directory",
        ) from error


def _labelled(splits: Mapping[str, Any], shape: ImageShape) -> LabelledSource:
    sources = [_DatasetSource(dataset, shape) for dataset in splits.values()]
    try:
        source = JoinedSource(sources)
    except ValueError as error:
        raise UnfitArgumentError(
            f"`image_size` must be given where splits differ in size: {error}", owner="data", argument="image_size"
        ) from error
    which = np.repeat(list(splits), [each.shape[0] for each in sources])
    return LabelledSource(
        source=source,
        labels=np.concatenate([_labels(dataset) for dataset in splits.values()]),
        is_val=which == "val" if "val" in splits else None,
        is_test=which == "test" if "test" in splits else None,
    )


def _labels(dataset: Any) -> NDArray[np.int64]:
    """Return the class of each item ``(n,)``, from an attribute if that agrees with the first and last item."""
    n = len(dataset)
    for name in _LABEL_ATTRIBUTES:
        known = np.asarray(getattr(dataset, name, ()))
        is_of_classes = known.shape == (n,) and known.dtype.kind in "iu"
        if is_of_classes and all(dataset[index][1] == known[index] for index in (0, n - 1)):
            return known.astype(np.int64)
    labels = np.asarray([dataset[index][1] for index in range(n)])
    if labels.shape != (n,) or labels.dtype.kind not in "iu" or int(labels.min()) < 0:
        raise UnfitArgumentError(
            f"`dataset` must have classes from 0 on as its second items, but those of {type(dataset).__name__} are "
            f"{labels.dtype} of shape {labels.shape}.",
            owner="data",
            argument="dataset",
        )
    return labels.astype(np.int64)

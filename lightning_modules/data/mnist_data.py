"""MNIST, Fashion-MNIST and Kuzushiji-MNIST: 70,000 grey images of 28x28 pixels in 10 classes each."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lightning_modules.data.data_files import check_directory, damaged_file, find_file, missing_files
from lightning_modules.data.idx_files import read_idx
from lightning_modules.data.image_data import ImageDataModule, LabelledImages

_STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class MNISTDataModule(ImageDataModule):
    """Handwritten digits, 60,000 to train on and 10,000 of a test split of their own; pixels in ``[0, 255]``.

    The four published IDX files are read as they are, compressed (``train-images-idx3-ubyte.gz``) or not, from
    `directory` or from where torchvision keeps them in it (``MNIST/raw``).

    Source:
        LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition".
    """

    data_set: ClassVar[str] = "MNIST"
    torchvision_folder: ClassVar[str] = "MNIST"
    published_at: ClassVar[str] = "https://ossci-datasets.s3.amazonaws.com/mnist/"

    def __init__(self, *, directory: str, **image_data: Any) -> None:
        """Keep the settings.

        Args:
            directory: Where the files are.
            image_data: Splits, preprocessing, augmentation, batches, as for `ImageDataModule`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__(**image_data)
        self.directory = check_directory(directory)

    def load(self) -> LabelledImages:
        """Return the images to train on ``(N, 1, H, W)``, then those of the test, each in the order of their file.

        Raises:
            UnfitArgumentError: If a file is missing or damaged.
        """
        folders = (
            self.directory,
            self.directory / "raw",
            self.directory / self.torchvision_folder / "raw",
        )
        found = [find_file(folders, _spellings(stem)) for stem in _STEMS]
        paths = tuple(path for path in found if path is not None)
        if len(paths) < len(_STEMS):
            missing = [stem for stem, path in zip(_STEMS, found, strict=True) if path is None]
            expected = f"{', '.join(_STEMS)}, each with or without .gz; missing are {', '.join(missing)}"
            raise missing_files(self.data_set, self.directory, expected=expected, published_at=self.published_at)
        return _read(paths)


class FashionMNISTDataModule(MNISTDataModule):
    """Articles of clothing instead of digits, in the same files; torchvision keeps them in ``FashionMNIST/raw``.

    Source:
        Xiao, Rasul and Vollgraf 2017, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
        Algorithms" (arXiv 1708.07747).
    """

    data_set = "Fashion-MNIST"
    torchvision_folder = "FashionMNIST"
    published_at = "https://github.com/zalandoresearch/fashion-mnist"


class KMNISTDataModule(MNISTDataModule):
    """Handwritten hiragana instead of digits, in the same files; torchvision keeps them in ``KMNIST/raw``.

    Source:
        Clanuwat et al. 2018, "Deep Learning for Classical Japanese Literature" (arXiv 1812.01718).
    """

    data_set = "Kuzushiji-MNIST"
    torchvision_folder = "KMNIST"
    published_at = "http://codh.rois.ac.jp/kmnist/"


def _spellings(stem: str) -> tuple[str, ...]:
    """Names of a file as it is published, unpacked, and as some unpack it."""
    dotted = stem.replace("-idx", ".idx")
    return stem, f"{stem}.gz", dotted, f"{dotted}.gz"


@lru_cache(maxsize=1)
def _read(paths: tuple[Path, ...]) -> LabelledImages:
    """Read once a process what the last data module read, since trials come one after another."""
    parts = [_labelled(*paths[:2]), _labelled(*paths[2:])]
    if parts[0][0].shape[1:] != parts[1][0].shape[1:]:
        raise damaged_file(paths[2], f"its images are not of the size of those in {paths[0].name}")
    images = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    is_test = np.arange(len(images)) >= len(parts[0][0])
    return LabelledImages(images=images[:, np.newaxis], labels=labels.astype(np.int64), is_test=is_test)


def _labelled(images_path: Path, labels_path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images, labels = read_idx(images_path, n_dimensions=3), read_idx(labels_path, n_dimensions=1)
    if len(images) != len(labels):
        raise damaged_file(labels_path, f"it has {len(labels)} labels for {len(images)} images")
    return images, labels

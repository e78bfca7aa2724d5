"""Street View House Numbers: 99,289 colour images of 32x32 pixels, each with a digit in its middle."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from lightning_modules.data.data_files import check_directory, damaged_file, missing_files
from lightning_modules.data.image_data import ImageDataModule, LabelledImages

_NAMES = ("train_32x32.mat", "test_32x32.mat")
_LABEL_OF_ZERO = 10


class SVHNDataModule(ImageDataModule):
    """Ten digits, 73,257 images to train on and 26,032 of a test split of their own; pixels in ``[0, 255]``.

    The two published files of cropped digits are read as they are; a 0, which they call class 10, is class 0 here.

    Source:
        Netzer et al. 2011, "Reading Digits in Natural Images with Unsupervised Feature Learning".
    """

    def __init__(self, *, directory: str, **image_data: Any) -> None:
        """Keep the settings.

        Args:
            directory: Where ``train_32x32.mat`` and ``test_32x32.mat`` are.
            image_data: Splits, preprocessing, augmentation, batches, as for `ImageDataModule`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__(**image_data)
        self.directory = check_directory(directory)

    def load(self) -> LabelledImages:
        """Return the images to train on ``(N, 3, 32, 32)``, then those of the test, each in the order of their file.

        Raises:
            UnfitArgumentError: If a file is missing or damaged.
        """
        paths = tuple(self.directory / name for name in _NAMES)
        if not all(path.is_file() for path in paths):
            raise missing_files(
                "SVHN",
                self.directory,
                expected=" and ".join(_NAMES),
                published_at="http://ufldl.stanford.edu/housenumbers/",
            )
        return _read(paths)


@lru_cache(maxsize=1)
def _read(paths: tuple[Path, ...]) -> LabelledImages:
    """Read once a process what the last data module read, since trials come one after another."""
    parts = [_part(path) for path in paths]
    images = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    is_test = np.arange(len(labels)) >= len(parts[0][1])
    return LabelledImages(images=images, labels=labels, is_test=is_test)


def _part(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images ``(n, 3, H, W)`` and labels ``(n,)`` of a file that has ``(H, W, 3, n)`` and ``(n, 1)``."""
    try:
        content = loadmat(path, variable_names=["X", "y"])
    except Exception as error:  # damaged files raise almost anything
        raise damaged_file(path, f"it is no MATLAB file ({type(error).__name__}: {error})") from error
    images, labels = content.get("X"), content.get("y")
    if images is None or images.ndim != 4 or images.dtype != np.uint8:
        raise damaged_file(path, "it has no 8-bit images of shape (H, W, 3, N) under 'X'")
    if labels is None or labels.size != images.shape[3] or not 0 <= labels.min() <= labels.max() <= _LABEL_OF_ZERO:
        raise damaged_file(path, f"it has no {images.shape[3]} labels in [0, {_LABEL_OF_ZERO}] under 'y'")
    return images.transpose(3, 2, 0, 1), labels.reshape(-1).astype(np.int64) % _LABEL_OF_ZERO

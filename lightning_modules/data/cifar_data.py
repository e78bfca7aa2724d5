"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32x32 pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from lightning_modules.arguments import check_choice
from lightning_modules.data.cifar_files import CifarFiles, find_cifar, read_cifar
from lightning_modules.data.data_files import check_directory, missing_files
from lightning_modules.data.image_data import ImageDataModule, LabelledImages

LABELS: tuple[str, ...] = ("fine", "coarse")
"""Which classes of CIFAR-100: the 100, or the 20 that each hold five of them."""

_PUBLISHED_AT = "https://www.cs.toronto.edu/~kriz/cifar.html"
_BATCHES = tuple(f"data_batch_{index}" for index in range(1, 6))
_CIFAR10 = (
    CifarFiles(
        archive="cifar-10-python.tar.gz",
        folder="cifar-10-batches-py",
        train=_BATCHES,
        test="test_batch",
        label_key="labels",
    ),
    CifarFiles(
        archive="cifar-10-binary.tar.gz",
        folder="cifar-10-batches-bin",
        train=tuple(f"{name}.bin" for name in _BATCHES),
        test="test_batch.bin",
    ),
)


class _CifarDataModule(ImageDataModule, ABC):
    """What the two have in common."""

    data_set: ClassVar[str]

    def __init__(self, *, directory: str, **image_data: Any) -> None:
        super().__init__(**image_data)
        self.directory = check_directory(directory)

    @abstractmethod
    def _versions(self) -> tuple[CifarFiles, ...]:
        """Names of the files, of each version that is published."""

    def load(self) -> LabelledImages:
        """Return the images to train on ``(N, 3, 32, 32)``, then those of the test, in the order of their files.

        Raises:
            UnfitArgumentError: If a file is missing or damaged.
        """
        versions = self._versions()
        place = find_cifar(self.directory, versions)
        if place is None:
            whole = " or ".join(f"{each.archive} (or its folder {each.folder})" for each in versions)
            expected = f"{whole}, with {', '.join(versions[0].names)}, which in the binary version end in .bin"
            raise missing_files(self.data_set, self.directory, expected=expected, published_at=_PUBLISHED_AT)
        return read_cifar(place)


class CIFAR10DataModule(_CifarDataModule):
    """Ten classes, 50,000 images to train on and 10,000 of a test split of their own; pixels in ``[0, 255]``.

    Either published version is read as it is, from the archive or from its folder, the Python version without running
    anything that a pickle names.

    Source:
        Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """

    data_set = "CIFAR-10"

    def __init__(self, *, directory: str, **image_data: Any) -> None:
        """Keep the settings.

        Args:
            directory: Where the archive, its folder or its files are.
            image_data: Splits, preprocessing, augmentation, batches, as for `ImageDataModule`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__(directory=directory, **image_data)

    def _versions(self) -> tuple[CifarFiles, ...]:
        return _CIFAR10


class CIFAR100DataModule(_CifarDataModule):
    """A hundred classes in twenty groups, split and stored as `CIFAR10DataModule`.

    Source:
        Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """

    data_set = "CIFAR-100"

    def __init__(self, *, directory: str, labels: str = "fine", **image_data: Any) -> None:
        """Keep the settings.

        Args:
            directory: Where the archive, its folder or its files are.
            labels: ``fine`` (100 classes) or ``coarse`` (20).
            image_data: Splits, preprocessing, augmentation, batches, as for `ImageDataModule`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__(directory=directory, **image_data)
        check_choice(labels, name="labels", choices=LABELS)
        self.labels = labels

    def _versions(self) -> tuple[CifarFiles, ...]:
        python = CifarFiles(
            archive="cifar-100-python.tar.gz",
            folder="cifar-100-python",
            train=("train",),
            test="test",
            label_key=f"{self.labels}_labels",
        )
        binary = CifarFiles(
            archive="cifar-100-binary.tar.gz",
            folder="cifar-100-binary",
            train=("train.bin",),
            test="test.bin",
            label_byte=("coarse", "fine").index(self.labels),
            n_label_bytes=2,
        )
        return python, binary

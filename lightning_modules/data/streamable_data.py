"""A data module over images that are kept on the training device if they fit there, and read as needed if not."""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from copy import deepcopy
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_modules.arguments import check_count
from lightning_modules.data.batch_loader import BatchLoader
from lightning_modules.data.image_data import ImageDataModule, LabelledImages
from lightning_modules.data.image_source import LabelledSource
from lightning_modules.data.pixel_statistics import PixelStatistics, pixel_statistics
from lightning_modules.data.stream_loader import SourceDataset, StreamLoader

IN_MEMORY_BYTES = 2 * 2**30
"""What ``in_memory: auto`` keeps: images that take up to 2 GiB in 32-bit floating point."""

MOST_FITTED_IMAGES = 20_000
"""So many train images, evenly spaced, the preprocessing of streamed images is fitted to at most."""

MOST_AUTOMATIC_WORKERS = 4
"""Loader processes beside a GPU, if there are cores for them."""

_N_AT_ONCE = 256
"""So many images are read together to fit the preprocessing."""


class StreamableImageDataModule(ImageDataModule):
    """Images that need not fit on the training device, nor into the host's memory.

    Kept in memory they are as in `ImageDataModule`. Streamed, they are read from their files batch by batch, in every
    epoch anew, by loader processes, and preprocessed and augmented on the training device. The batches are the same
    either way, and so is the preprocessing, except that a streamed data set's is fitted to at most 20,000 images of its
    train split, evenly spaced.

    A subclass says in `open` where the images come from, and passes all other keywords on.
    """

    def __init__(
        self, *, in_memory: bool | str = "auto", n_loader_workers: int | str = "auto", **image_data: Any
    ) -> None:
        """Keep the settings.

        Args:
            in_memory: Whether all images are read once and kept on the training device: True, False, or ``auto``: if
                they take at most 2 GiB there, in 32-bit floating point.
            n_loader_workers: Processes that read streamed images ahead, >= 0; 0 reads in the training process.
                ``auto``: as many as there are cores beside a GPU, at most 4; without a GPU, 0.
            image_data: Splits, preprocessing, augmentation, batches, as for `ImageDataModule`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__(**image_data)
        if in_memory not in (True, False, "auto"):
            raise ValueError(f"`in_memory` must be true, false or 'auto', but got {in_memory!r}.")
        if n_loader_workers != "auto":
            check_count(n_loader_workers, name="n_loader_workers", at_least=0)  # type: ignore[arg-type]
        self.in_memory = in_memory
        self.n_loader_workers = n_loader_workers

    @abstractmethod
    def open(self) -> LabelledSource:
        """Find the images and read their labels; a second call in a process should give the same object."""

    def load(self) -> LabelledImages:
        """Return all images, in memory.

        Raises:
            UnfitArgumentError: If files are missing or damaged.
        """
        return _read_all(self.open())

    @property
    def is_streamed(self) -> bool:
        """Whether images are read as needed."""
        if self.in_memory == "auto":
            n_bytes = 4 * math.prod(self.open().source.shape)
            return n_bytes > IN_MEMORY_BYTES
        return not self.in_memory

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.open().source.shape[1:]

    def raw_examples(self, n: int) -> NDArray[np.generic]:
        return self.open().source.read(self.splits.train[:n])

    def train_statistics(self, *, with_codeviations: bool) -> PixelStatistics:
        """Summarize the images of the train split, raw, those of one split once a process; of streamed ones, some."""
        if not self.is_streamed:
            return super().train_statistics(with_codeviations=with_codeviations)
        train = self.splits.train
        n = min(len(train), MOST_FITTED_IMAGES)
        chosen = train[np.linspace(0, len(train) - 1, n).round().astype(np.int64)]
        n_workers = self._n_workers(self._device())
        return _statistics(self.open(), chosen.tobytes(), with_codeviations, n_workers)

    def setup(self, stage: str | None = None) -> None:
        """Split, fit the preprocessing, and unless they are streamed put all images on the Trainer's device.

        Raises:
            UnfitArgumentError: If files are missing or damaged.
            ValueError: If a train image holds NaN or infinite values, or the images are too large to be whitened.
        """
        if self.is_streamed:
            _ = self.preprocessing
        else:
            super().setup(stage)

    def _training_loader(self, indices: NDArray[np.int64]) -> BatchLoader:
        if not self.is_streamed:
            return super()._training_loader(indices)
        device = self._device()
        rank, n_ranks = self._place()
        return StreamLoader(
            self._samples(indices),
            batch_size=self.batch_size,
            device=device,
            transform=self.training_transform(device),
            mixup=self.training_mixup(n_classes=self.n_classes),
            shuffle=True,
            is_random=self.is_random,
            n_workers=self._n_workers(device),
            rank=rank,
            n_ranks=n_ranks,
        )

    def _in_order(self, indices: NDArray[np.int64], *, rank: int, n_ranks: int) -> BatchLoader:
        if not self.is_streamed:
            return super()._in_order(indices, rank=rank, n_ranks=n_ranks)
        device = self._device()
        return StreamLoader(
            self._samples(indices),
            batch_size=self.eval_batch_size,
            device=device,
            transform=deepcopy(self.preprocessing).to(device),
            n_workers=self._n_workers(device),
            rank=rank,
            n_ranks=n_ranks,
        )

    def _samples(self, indices: NDArray[np.int64]) -> SourceDataset:
        opened = self.open()
        return SourceDataset(opened.source, opened.labels, indices)

    def _labelled(self) -> LabelledImages | LabelledSource:
        return self.open()

    def _n_workers(self, device: torch.device) -> int:
        if isinstance(self.n_loader_workers, int):
            return self.n_loader_workers
        return 0 if device.type == "cpu" else min(MOST_AUTOMATIC_WORKERS, _n_cores())


@lru_cache(maxsize=1)
def _read_all(opened: LabelledSource) -> LabelledImages:
    """Read once a process what the last data module read, since trials come one after another."""
    return LabelledImages(
        images=opened.source.read_all(), labels=opened.labels, is_val=opened.is_val, is_test=opened.is_test
    )


@lru_cache(maxsize=2)
def _statistics(
    opened: LabelledSource, indices: bytes, with_codeviations: bool, n_loader_workers: int
) -> PixelStatistics:
    """Read some images, whose indices ``(n,)`` these are in int64, once a process, and summarize them."""
    rows = np.frombuffer(indices, dtype=np.int64).copy()
    reader = StreamLoader(
        SourceDataset(opened.source, opened.labels, rows),
        batch_size=_N_AT_ONCE,
        device=torch.device("cpu"),
        n_workers=n_loader_workers,
    )
    return pixel_statistics((images for images, _ in reader), with_codeviations=with_codeviations)


def _n_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)

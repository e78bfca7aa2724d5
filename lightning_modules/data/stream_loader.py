"""Batches of images that are read while training goes on, by processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_modules.arguments import UnfitArgumentError, check_count
from lightning_modules.data.batch_loader import Batch, BatchLoader
from lightning_modules.data.image_source import ImageSource


class SourceDataset(Dataset[Batch]):
    """Some images of a source and their labels, raw; batches are read in one piece."""

    def __init__(self, source: ImageSource, labels: NDArray[np.int64], indices: NDArray[np.int64]) -> None:
        """Keep them.

        Args:
            source: All images.
            labels: Of all images, ``(N,)``.
            indices: Which images the data set consists of, ``(n,)``.
        """
        self._source = source
        self._labels = labels
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> Batch:
        """Return an image ``(C, H, W)`` and its label, a scalar."""
        images, labels = self.read(np.array([position]))
        return images[0], labels[0]

    def __getitems__(self, positions: list[int]) -> Batch | UnfitArgumentError:
        """Return a batch, or what is wrong with the files: raised here, a loader process would wrap it in its own."""
        try:
            return self.read(np.array(positions, dtype=np.int64))
        except UnfitArgumentError as error:
            return error

    def read(self, positions: NDArray[np.int64]) -> Batch:
        """Return images ``(n, C, H, W)`` and labels ``(n,)``.

        Raises:
            UnfitArgumentError: If an image cannot be read.
        """
        rows = self._indices[positions]
        return torch.from_numpy(self._source.read(rows)), torch.from_numpy(self._labels[rows])

    def subset(self, positions: NDArray[np.int64]) -> SourceDataset:
        """Return the data set of these positions ``(n,)``."""
        return SourceDataset(self._source, self._labels, self._indices[positions])


class StreamLoader(BatchLoader):
    """A loader for sets too large for the training device.

    A `DataLoader` reads whole batches, ahead of time if it has processes to do so; they are moved to the training
    device, and what is done to their images happens there. The batches are those of a `TensorLoader` of the same
    images, however many loader processes there are.

    Attributes:
        device: Where the batches end up.
        n_workers: Loader processes of an iteration, 0 to read in this one.
    """

    dataset: SourceDataset

    def __init__(self, dataset: SourceDataset, *, device: torch.device, n_workers: int = 0, **batches: Any) -> None:
        """Keep the settings; nothing is read.

        Args:
            dataset: The raw images.
            device: Any.
            n_workers: >= 0.
            batches: How they make batches and what becomes of these, as for `BatchLoader`.

        Raises:
            ValueError: As `BatchLoader`, or if `n_workers` is no integer >= 0.
        """
        check_count(n_workers, name="n_workers", at_least=0)
        super().__init__(dataset, **batches)
        self.device = device
        self.n_workers = n_workers

    def subset(self, positions: list[int], *, rank: int, n_ranks: int) -> StreamLoader:
        """Return a loader of some samples, in order, treated like these."""
        return StreamLoader(
            self.dataset.subset(np.array(positions, dtype=np.int64)),
            device=self.device,
            n_workers=self.n_workers,
            **self._treatment(),
            rank=rank,
            n_ranks=n_ranks,
        )

    def _read(self) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Raises:
            UnfitArgumentError: If an image cannot be read.
        """
        reader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_sampler=self._lists(),
            num_workers=min(self.n_workers, len(self)),
            pin_memory=self.device.type == "cuda",
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # its own: reading draws nothing from what training draws from
        )
        for batch in reader:
            if isinstance(batch, UnfitArgumentError):
                raise batch
            images, labels = (each.to(self.device, non_blocking=True) for each in batch)
            yield images, labels

    def _lists(self) -> Iterator[list[int]]:
        for batch in self._positions(torch.device("cpu")):
            yield batch.tolist() if isinstance(batch, Tensor) else list(range(batch.start, batch.stop))


def _as_it_is(batch: object) -> object:
    return batch

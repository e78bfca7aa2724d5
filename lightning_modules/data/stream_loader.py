"""Batches of images that are read while training goes on, by processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_modules.arguments import UnfitArgumentError, check_count
from lightning_modules.data.batch_order import BatchOrder
from lightning_modules.data.image_source import ImageSource

Batch = tuple[Tensor, Tensor]
"""Images ``(n, C, H, W)`` and labels ``(n,)``, or probabilities ``(n, n_classes)`` after mixup."""


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


class StreamLoader:
    """An iterable over batches ``(images, labels)``, for sets too large for the training device.

    A `DataLoader` reads whole batches, ahead of time if it has processes to do so; they are moved to the training
    device, and what is done to their images happens there. The batches are those of a `TensorLoader` of the same
    images, however many loader processes there are; `BatchOrder` says which samples each has on which rank.

    Attributes:
        dataset: The samples, a map-style data set: ``dataset[i]`` is an image and its label, before `transform`.
        batch_size: Samples of a batch of each rank; the last batch of an epoch has what is left.
        device: Where the batches end up.
        transform: Applied to the raw images of each batch ``(n, C, H, W)`` on the device.
        mixup: Applied to the transformed images and the labels of each batch, or None.
        shuffle: Whether every epoch has an order of its own, see `BatchOrder`.
        is_random: Whether `transform` or `mixup` draw random numbers; each rank then draws numbers of its own.
        n_workers: Loader processes of an iteration, 0 to read in this one.
        rank: Which share of the samples this process has.
        n_ranks: Among how many processes they are divided.
    """

    def __init__(
        self,
        dataset: SourceDataset,
        *,
        batch_size: int,
        device: torch.device,
        transform: Callable[[Tensor], Tensor],
        mixup: Callable[[Tensor, Tensor], Batch] | None = None,
        shuffle: bool = False,
        is_random: bool = False,
        n_workers: int = 0,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        """Keep the settings; nothing is read.

        Args:
            dataset: See the class, as for all others.
            batch_size: >= 1.
            device: Any.
            transform: `Preprocessing`, or augmentation and preprocessing.
            mixup: See the class.
            shuffle: See the class.
            is_random: See the class.
            n_workers: >= 0.
            rank: In ``range(n_ranks)``.
            n_ranks: >= 1, at most the number of samples.

        Raises:
            ValueError: If one is out of its bounds.
        """
        check_count(n_workers, name="n_workers", at_least=0)
        self._order = BatchOrder(
            n_samples=len(dataset), batch_size=batch_size, shuffle=shuffle, rank=rank, n_ranks=n_ranks
        )
        self.dataset = dataset
        self.batch_size = batch_size
        self.device = device
        self.transform = transform
        self.mixup = mixup
        self.shuffle = shuffle
        self.is_random = is_random
        self.n_workers = n_workers
        self.rank = rank
        self.n_ranks = n_ranks

    def __len__(self) -> int:
        """Batches of an epoch, as many on every rank."""
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Raises:
            UnfitArgumentError: If an image cannot be read.
        """
        reader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_sampler=self._positions(),
            num_workers=min(self.n_workers, len(self)),
            pin_memory=self.device.type == "cuda",
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # its own: reading draws nothing from what training draws from
        )
        for batch in reader:
            if isinstance(batch, UnfitArgumentError):
                raise batch
            raw, labels = (each.to(self.device, non_blocking=True) for each in batch)
            images = self.transform(raw)
            yield (images, labels) if self.mixup is None else self.mixup(images, labels)

    def subset(self, positions: list[int], *, rank: int, n_ranks: int) -> StreamLoader:
        """Return a loader of some samples, in order, treated like these.

        Args:
            positions: Of samples in `dataset`.
            rank: In ``range(n_ranks)``.
            n_ranks: >= 1, at most ``len(positions)``.
        """
        return StreamLoader(
            self.dataset.subset(np.array(positions, dtype=np.int64)),
            batch_size=self.batch_size,
            device=self.device,
            transform=self.transform,
            mixup=self.mixup,
            is_random=self.is_random,
            n_workers=self.n_workers,
            rank=rank,
            n_ranks=n_ranks,
        )

    def _positions(self) -> Iterator[list[int]]:
        """Yield the positions of each batch; the order of an epoch is drawn with the first."""
        cpu = torch.device("cpu")
        for batch in self._order.batches(device=cpu, parts_generators=self.is_random):
            yield batch.tolist() if isinstance(batch, Tensor) else list(range(batch.start, batch.stop))


def _as_it_is(batch: object) -> object:
    return batch

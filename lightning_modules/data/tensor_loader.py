"""Batches of a data set that lies in memory, on the training device, as whole tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from lightning_modules.data.batch_order import BatchOrder


class TensorLoader:
    """An iterable over batches ``(images, labels)``, for sets too small to be worth a `DataLoader`.

    A `DataLoader` fetches sample by sample and stacks them; here a batch is one indexing of each tensor, and nothing
    moves between devices. Lightning takes any iterable with a length as a loader, and divides none but a `DataLoader`
    among the processes of a distributed strategy; this one divides itself, so that all processes have as many batches.
    `BatchOrder` says which samples a batch has on which rank.

    Attributes:
        dataset: The samples, a map-style data set: ``dataset[i]`` is an image and its label, before `transform`.
        batch_size: Samples of a batch of each rank; the last batch of an epoch has what is left.
        shuffle: Whether every epoch has an order of its own, see `BatchOrder`.
        transform: Applied to the images of each batch ``(N, C, H, W)`` on their device, or None. On each rank it draws
            random numbers of its own.
        mixup: Applied to the transformed images and the labels of each batch, likewise, or None.
        rank: Which share of the samples this process has.
        n_ranks: Among how many processes they are divided.
    """

    def __init__(
        self,
        dataset: TensorDataset,
        *,
        batch_size: int,
        shuffle: bool = False,
        transform: Callable[[Tensor], Tensor] | None = None,
        mixup: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        """Keep the tensors; nothing is copied.

        Args:
            dataset: Of two tensors of one length on one device: images and labels.
            batch_size: >= 1.
            shuffle: See the class.
            transform: See the class.
            mixup: See the class.
            rank: In ``range(n_ranks)``.
            n_ranks: >= 1, at most the number of samples.

        Raises:
            ValueError: If `batch_size` is no integer >= 1, `dataset` has not two tensors, there are fewer samples than
                ranks, or `rank` is none of them.
        """
        if len(dataset.tensors) != 2:
            raise ValueError(f"`dataset` must hold images and labels, but got {len(dataset.tensors)} tensors.")
        self._order = BatchOrder(
            n_samples=len(dataset), batch_size=batch_size, shuffle=shuffle, rank=rank, n_ranks=n_ranks
        )
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.transform = transform
        self.mixup = mixup
        self.rank = rank
        self.n_ranks = n_ranks

    def __len__(self) -> int:
        """Batches of an epoch, as many on every rank."""
        return len(self._order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch."""
        images, labels = self.dataset.tensors
        is_random = self.transform is not None or self.mixup is not None
        for indices in self._order.batches(device=images.device, parts_generators=is_random):
            batch = images[indices]
            batch = batch if self.transform is None else self.transform(batch)
            yield (batch, labels[indices]) if self.mixup is None else self.mixup(batch, labels[indices])

    def subset(self, positions: list[int], *, rank: int, n_ranks: int) -> TensorLoader:
        """Return a loader of some samples, in order, treated like these; they are copied.

        Args:
            positions: Of samples in `dataset`.
            rank: In ``range(n_ranks)``.
            n_ranks: >= 1, at most ``len(positions)``.
        """
        images, labels = self.dataset.tensors
        rows = torch.tensor(positions, dtype=torch.int64, device=images.device)
        return TensorLoader(
            TensorDataset(images[rows], labels[rows]),
            batch_size=self.batch_size,
            transform=self.transform,
            mixup=self.mixup,
            rank=rank,
            n_ranks=n_ranks,
        )

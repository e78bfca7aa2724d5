"""What the loaders of this package have in common: how samples make batches, and what becomes of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor

from lightning_modules.data.batch_order import BatchOrder

Batch = tuple[Tensor, Tensor]
"""Images ``(n, C, H, W)`` and labels ``(n,)``, or probabilities ``(n, n_classes)`` after mixup."""


class BatchLoader(ABC):
    """An iterable over batches ``(images, labels)`` on the training device.

    Lightning takes any iterable with a length as a loader, and divides none but a `DataLoader` among the processes of a
    distributed strategy; this one divides itself, so that all processes have as many batches. `BatchOrder` says which
    samples a batch has on which rank.

    Attributes:
        dataset: The samples, a map-style data set: ``dataset[i]`` is an image and its label, before `transform`.
        batch_size: Samples of a batch of each rank; the last batch of an epoch has what is left.
        transform: Applied to the images of each batch ``(N, C, H, W)`` on their device, or None.
        mixup: Applied to the transformed images and the labels of each batch, likewise, or None.
        is_random: Whether `transform` or `mixup` draw random numbers; shuffled, each rank then draws some of its own.
        shuffle: Whether every epoch has an order of its own, see `BatchOrder`.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int,
        transform: Callable[[Tensor], Tensor] | None = None,
        mixup: Callable[[Tensor, Tensor], Batch] | None = None,
        is_random: bool = True,
        shuffle: bool = False,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        """Keep the settings; nothing is read.

        Args:
            dataset: See the class, as for those that are not here.
            batch_size: >= 1.
            transform: See the class.
            mixup: See the class.
            is_random: See the class; without effect where there is neither of the two.
            shuffle: See the class.
            rank: Which share of the samples this process has, in ``range(n_ranks)``.
            n_ranks: Among how many processes they are divided, >= 1, at most the number of samples.

        Raises:
            ValueError: If `batch_size` is no integer >= 1, there are fewer samples than ranks, or `rank` is none of
                them.
        """
        self._order = BatchOrder(
            n_samples=len(dataset), batch_size=batch_size, shuffle=shuffle, rank=rank, n_ranks=n_ranks
        )
        self.dataset = dataset
        self.batch_size = batch_size
        self.transform = transform
        self.mixup = mixup
        self.shuffle = shuffle
        self.is_random = is_random and not (transform is None and mixup is None)

    def __len__(self) -> int:
        """Batches of an epoch, as many on every rank."""
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        for images, labels in self._read():
            changed = images if self.transform is None else self.transform(images)
            yield (changed, labels) if self.mixup is None else self.mixup(changed, labels)

    @abstractmethod
    def subset(self, positions: list[int], *, rank: int, n_ranks: int) -> Self:
        """Return a loader of some samples, in order, treated like these.

        Args:
            positions: Of samples in `dataset`.
            rank: In ``range(n_ranks)``.
            n_ranks: >= 1, at most ``len(positions)``.
        """

    @abstractmethod
    def _read(self) -> Iterator[Batch]:
        """Yield the batches of one epoch as they are in `dataset`, on the training device."""

    def _positions(self, device: torch.device) -> Iterator[Tensor | slice]:
        """Yield the positions of each batch; the order of an epoch is drawn with the first."""
        return self._order.batches(device=device, parts_generators=self.is_random)

    def _treatment(self) -> dict[str, Any]:
        """Arguments of a loader of other samples that are treated like these."""
        return {
            "batch_size": self.batch_size,
            "transform": self.transform,
            "mixup": self.mixup,
            "is_random": self.is_random,
        }

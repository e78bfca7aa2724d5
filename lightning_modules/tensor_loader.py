"""Batches of a data set that lies in memory, on the training device, as whole tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from lightning_modules.arguments import check_count


class TensorLoader:
    """An iterable over batches ``(images, labels)``, for sets too small to be worth a `DataLoader`.

    A `DataLoader` fetches sample by sample and stacks them; here a batch is one indexing of each tensor, and nothing
    moves between devices. Lightning takes any iterable with a length as a loader; unlike a `DataLoader` it is not
    sharded over the processes of a distributed strategy: each of them iterates over all the samples.

    Attributes:
        dataset: The samples, a map-style data set: ``dataset[i]`` is an image and its label, before `transform`.
        batch_size: Samples of a batch; the last batch of an epoch has what is left.
        shuffle: Whether every epoch has an order of its own. It is drawn from torch's global random generator on the
            CPU, whatever the device, when the first batch of the epoch is asked for.
        transform: Applied to the images of each batch ``(N, C, H, W)`` on their device, or None.
    """

    def __init__(
        self,
        dataset: TensorDataset,
        *,
        batch_size: int,
        shuffle: bool = False,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Keep the tensors; nothing is copied.

        Args:
            dataset: Of two tensors of one length on one device: images and labels.
            batch_size: >= 1.
            shuffle: See the class.
            transform: See the class.

        Raises:
            ValueError: If `batch_size` is no integer >= 1, or `dataset` has not two tensors.
        """
        check_count(batch_size, name="batch_size", at_least=1)
        if len(dataset.tensors) != 2:
            raise ValueError(f"`dataset` must hold images and labels, but got {len(dataset.tensors)} tensors.")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.transform = transform

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch."""
        images, labels = self.dataset.tensors
        for indices in self._batches(images.device):
            batch = images[indices]
            yield (batch if self.transform is None else self.transform(batch)), labels[indices]

    def _batches(self, device: torch.device) -> Iterator[Tensor | slice]:
        """Yield what each batch consists of: slices, which copy nothing, or shuffled indices."""
        if self.shuffle:
            yield from torch.split(torch.randperm(len(self.dataset)).to(device), self.batch_size)
            return
        for start in range(0, len(self.dataset), self.batch_size):
            yield slice(start, start + self.batch_size)

"""Batches of a data set that lies in memory, on the training device, as whole tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from lightning_modules.arguments import check_count
from lightning_modules.data.even_shares import even_batches, even_share, n_even_batches


class TensorLoader:
    """An iterable over batches ``(images, labels)``, for sets too small to be worth a `DataLoader`.

    A `DataLoader` fetches sample by sample and stacks them; here a batch is one indexing of each tensor, and nothing
    moves between devices. Lightning takes any iterable with a length as a loader, and divides none but a `DataLoader`
    among the processes of a distributed strategy; this one divides itself, so that all processes have as many batches.

    Shuffled, a rank has its part of each global batch of ``n_ranks * batch_size`` samples, the very ones that a single
    process with that batch size has. A last global batch that is not whole is divided as evenly as can be; if it has
    fewer samples than there are ranks, some of them see the same one. In order, no sample is seen twice.

    Attributes:
        dataset: The samples, a map-style data set: ``dataset[i]`` is an image and its label, before `transform`.
        batch_size: Samples of a batch of each rank; the last batch of an epoch has what is left.
        shuffle: Whether every epoch has an order of its own. It is drawn from torch's global random generator on the
            CPU, whatever the device, when the first batch of the epoch is asked for, and must be in the same state on
            every rank then.
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
        check_count(batch_size, name="batch_size", at_least=1)
        if len(dataset.tensors) != 2:
            raise ValueError(f"`dataset` must hold images and labels, but got {len(dataset.tensors)} tensors.")
        if n_ranks > 1 and not (0 <= rank < n_ranks <= len(dataset)):
            raise ValueError(
                f"`0 <= rank < n_ranks <= number of samples` must hold, but got {rank}, {n_ranks} and {len(dataset)}."
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
        if self.shuffle:
            return -(-len(self.dataset) // (self.batch_size * self.n_ranks))
        return n_even_batches(len(self.dataset), batch_size=self.batch_size, n_ranks=self.n_ranks)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch."""
        images, labels = self.dataset.tensors
        for indices in self._batches(images.device):
            batch = images[indices]
            batch = batch if self.transform is None else self.transform(batch)
            yield (batch, labels[indices]) if self.mixup is None else self.mixup(batch, labels[indices])

    def _batches(self, device: torch.device) -> Iterator[Tensor | slice]:
        """Yield what each batch consists of: slices, which copy nothing, or shuffled indices."""
        if self.shuffle:
            order = torch.randperm(len(self.dataset))
            self._part_from_other_ranks()
            for whole in torch.split(order.to(device), self.batch_size * self.n_ranks):
                yield self._own_part(whole)
            return
        if self.n_ranks > 1:
            own = even_batches(len(self.dataset), batch_size=self.batch_size, rank=self.rank, n_ranks=self.n_ranks)
            yield from (slice(positions.start, positions.stop) for positions in own)
            return
        for start in range(0, len(self.dataset), self.batch_size):
            yield slice(start, start + self.batch_size)

    def _own_part(self, whole: Tensor) -> Tensor:
        """Return this rank's indices ``(n,)`` of a global batch, n >= 1."""
        own = even_share(len(whole), rank=self.rank, n_ranks=self.n_ranks)
        return whole[own.start : own.stop] if own else whole[self.rank % len(whole)].reshape(1)

    def _part_from_other_ranks(self) -> None:
        """Move torch's generator, which all ranks have in one state, to where this rank's transforms draw from."""
        if self.rank > 0 and (self.transform is not None or self.mixup is not None):
            torch.default_generator.manual_seed(int(torch.randint(2**62, ())) + self.rank)

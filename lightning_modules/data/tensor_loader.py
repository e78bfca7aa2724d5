"""Batches of a data set that lies in memory, on the training device, as whole tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import TensorDataset

from lightning_modules.data.batch_loader import Batch, BatchLoader


class TensorLoader(BatchLoader):
    """A loader for sets too small to be worth a `DataLoader`.

    A `DataLoader` fetches sample by sample and stacks them; here a batch is one indexing of each tensor, and nothing
    moves between devices.
    """

    dataset: TensorDataset

    def __init__(self, dataset: TensorDataset, **batches: Any) -> None:
        """Keep the tensors; nothing is copied.

        Args:
            dataset: Of two tensors of one length on one device: images and labels.
            batches: How they make batches and what becomes of these, as for `BatchLoader`.

        Raises:
            ValueError: As `BatchLoader`, or if `dataset` has not two tensors.
        """
        if len(dataset.tensors) != 2:
            raise ValueError(f"`dataset` must hold images and labels, but got {len(dataset.tensors)} tensors.")
        super().__init__(dataset, **batches)

    def subset(self, positions: list[int], *, rank: int, n_ranks: int) -> TensorLoader:
        """Return a loader of some samples, in order, treated like these; they are copied."""
        images, labels = self.dataset.tensors
        rows = torch.tensor(positions, dtype=torch.int64, device=images.device)
        return TensorLoader(TensorDataset(images[rows], labels[rows]), **self._treatment(), rank=rank, n_ranks=n_ranks)

    def _read(self) -> Iterator[Batch]:
        images, labels = self.dataset.tensors
        for rows in self._positions(images.device):
            yield images[rows], labels[rows]

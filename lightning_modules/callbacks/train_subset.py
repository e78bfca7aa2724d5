"""A fixed, seeded part of the train data, measured like the validation data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, SubsetRandomSampler

from lightning_modules.callbacks.attached_data import attached_datamodule
from lightning_modules.callbacks.batch_samples import part_of_batch
from lightning_modules.data.batch_loader import BatchLoader
from lightning_modules.data.even_shares import even_batches, even_share

_UNKNOWN_N_BATCHES = 16
"""How many batches are read where the validation loader does not tell its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSource:
    """Where the train subset comes from.

    Attributes:
        loader: The data module's ``train_eval_dataloader()``, else the train loader.
        augmented: Whether it is the train loader, whose data are as training sees them.
    """

    loader: Any
    augmented: bool


def train_source(trainer: Trainer, module: LightningModule) -> TrainSource:
    """Find the loader of the train data, the one without augmentation first."""
    for owner in (attached_datamodule(trainer), module):
        offered = getattr(owner, "train_eval_dataloader", None)
        if callable(offered):
            return TrainSource(loader=offered(), augmented=False)
    return TrainSource(loader=trainer.train_dataloader, augmented=True)


class TrainSubset:
    """The same batches of train data every time it is iterated.

    Args:
        loader: A DataLoader; of one with an `IterableDataset` the first batches are taken, from a copy of the data set.
            Or a BatchLoader, or any other iterable over batches that has a length; whole batches are
            taken of the latter.
        n_samples: Samples at most, >= 1; fewer if there are fewer, more where whole batches are taken.
        seed: Draws which samples.
        cache_bytes: Batches are kept on the CPU if all together are not larger.
        rank: Which share of the subset this process has: all ranks have as many batches, and the shares together are
            the subset of a single process.
        n_ranks: Among how many processes it is divided.

    Raises:
        TypeError: If `loader` is neither, is a collection of several loaders, or holds an iterable data set that cannot
            be copied.
    """

    def __init__(
        self, loader: Any, *, n_samples: int, seed: int, cache_bytes: int, rank: int = 0, n_ranks: int = 1
    ) -> None:
        n_samples = max(n_samples, n_ranks)
        self._cache_bytes = cache_bytes
        self._cache: list[Any] | None = None
        self._loader: Iterable[Any]
        self._n_batches: int | None = None
        if isinstance(loader, DataLoader):
            self._loader, self._n_batches = _subset_loader(loader, n_samples, seed, rank=rank, n_ranks=n_ranks)
        elif isinstance(loader, BatchLoader):
            self._loader = _some_samples(loader, n_samples, seed, rank=rank, n_ranks=n_ranks)
        elif _is_loader(loader):
            self._loader = _SomeBatches(loader, n_batches=-(-n_samples // _batch_size(loader)), seed=seed)
            if n_ranks > 1:
                self._loader = _PartOfEach(self._loader, rank=rank, n_ranks=n_ranks)
        else:
            raise TypeError(f"the train data come from a {type(loader).__name__}, not from a single DataLoader")

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches, on the CPU; a module may change them in place."""
        if self._cache is not None:
            yield from (apply_to_collection(batch, Tensor, Tensor.clone) for batch in self._cache)
            return
        cache: list[Any] = []
        budget = self._cache_bytes
        for batch in islice(self._loader, self._n_batches):
            budget -= _n_bytes(batch)
            if budget >= 0:
                cache.append(apply_to_collection(batch, Tensor, Tensor.clone))
            else:
                cache.clear()
            yield batch
        if budget >= 0:
            self._cache = cache


def _some_samples(loader: BatchLoader, n_samples: int, seed: int, *, rank: int, n_ranks: int) -> Iterable[Any]:
    """Single samples, not whole batches: files are often in the order of their classes."""
    n_train = len(loader.dataset)
    if n_train < n_ranks:
        raise TypeError(f"there are {n_train} train samples for {n_ranks} processes")
    order = torch.randperm(n_train, generator=torch.Generator().manual_seed(seed))
    return loader.subset(sorted(order[:n_samples].tolist()), rank=rank, n_ranks=n_ranks)


class _SomeBatches:
    """Whole batches of a loader that is no DataLoader: how its batches come from samples is its own business."""

    def __init__(self, loader: Any, *, n_batches: int, seed: int) -> None:
        order = torch.randperm(len(loader), generator=torch.Generator().manual_seed(seed))
        self._loader = loader
        self._chosen = frozenset(order[:n_batches].tolist())

    def __iter__(self) -> Iterator[Any]:
        for index, batch in enumerate(self._loader):
            if index in self._chosen:
                yield batch


class _PartOfEach:
    """This rank's part of each batch that all ranks read."""

    def __init__(self, batches: Iterable[Any], *, rank: int, n_ranks: int) -> None:
        self._batches = batches
        self._rank = rank
        self._n_ranks = n_ranks

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            yield part_of_batch(batch, rank=self._rank, n_ranks=self._n_ranks)


def validation_size(trainer: Trainer) -> int:
    """Samples that one run over the (first) validation dataloader reads, on all processes, as far as it tells; >= 1."""
    loader = trainer.val_dataloaders
    if isinstance(loader, CombinedLoader):
        loader = loader.flattened[0]
    while isinstance(loader, dict | list | tuple) and loader:
        loader = next(iter(loader.values() if isinstance(loader, dict) else loader))
    limit = trainer.num_val_batches[0] if trainer.num_val_batches else float("inf")
    batch_size = _batch_size(loader) * trainer.world_size
    n_read = int(limit) * batch_size if limit != float("inf") else _UNKNOWN_N_BATCHES * batch_size
    dataset = getattr(loader, "dataset", None)
    if isinstance(dataset, Sized) and not isinstance(dataset, IterableDataset):
        return max(1, min(len(dataset), n_read))
    return max(1, n_read)


def _subset_loader(
    loader: DataLoader[Any], n_samples: int, seed: int, *, rank: int, n_ranks: int
) -> tuple[Iterable[Any], int | None]:
    """Return what to iterate and how many batches to take from it (None for all)."""
    shared: dict[str, Any] = {
        "collate_fn": loader.collate_fn,
        "pin_memory": loader.pin_memory,
        "num_workers": loader.num_workers,
        "worker_init_fn": loader.worker_init_fn,
        "multiprocessing_context": loader.multiprocessing_context,
        "generator": torch.Generator(),  # its own, so that starting an iteration draws nothing from training's
    }
    if isinstance(loader.dataset, IterableDataset):
        try:
            dataset = deepcopy(loader.dataset)
        except Exception as error:
            raise TypeError(f"the train data are a stream that cannot be copied ({error})") from error
        batches: Iterable[Any] = DataLoader(dataset, batch_size=loader.batch_size, **shared)
        if n_ranks > 1:
            batches = _PartOfEach(batches, rank=rank, n_ranks=n_ranks)
        return batches, -(-n_samples // _batch_size(loader))
    n_train = len(loader.dataset)  # type: ignore[arg-type]
    # What such a sampler leaves out may be other splits of the same data set.
    trained = loader.sampler.indices if isinstance(loader.sampler, SubsetRandomSampler) else range(n_train)
    order = torch.randperm(len(trained), generator=torch.Generator().manual_seed(seed))
    indices = sorted(int(trained[index]) for index in order[:n_samples].tolist())
    # A batch_size of None without a batch sampler means that the data set's items are batches already.
    batch_size = None if loader.batch_sampler is None else _batch_size(loader)
    if n_ranks == 1:
        return DataLoader(Subset(loader.dataset, indices), batch_size=batch_size, shuffle=False, **shared), None
    if len(indices) < n_ranks:
        raise TypeError(f"there are {len(indices)} train samples for {n_ranks} processes")
    if batch_size is None:
        own = even_share(len(indices) - len(indices) % n_ranks, rank=rank, n_ranks=n_ranks)
        return DataLoader(Subset(loader.dataset, indices[own.start : own.stop]), batch_size=None, **shared), None
    own_batches = even_batches(len(indices), batch_size=batch_size, rank=rank, n_ranks=n_ranks)
    return DataLoader(
        Subset(loader.dataset, indices), batch_sampler=[list(each) for each in own_batches], **shared
    ), None


def _is_loader(loader: Any) -> bool:
    """Whether it is what Lightning takes for one loader, with a length, that can be iterated again and again."""
    collections = (CombinedLoader, Mapping, list, tuple, Iterator)
    return isinstance(loader, Iterable) and isinstance(loader, Sized) and not isinstance(loader, collections)


def _batch_size(loader: Any) -> int:
    for owner in (loader, getattr(loader, "batch_sampler", None)):
        size = getattr(owner, "batch_size", None)
        if isinstance(size, int) and size > 0:
            return size
    return 1


def _n_bytes(batch: Any) -> int:
    sizes: list[int] = []
    apply_to_collection(batch, Tensor, lambda tensor: sizes.append(tensor.element_size() * tensor.numel()))
    return sum(sizes)

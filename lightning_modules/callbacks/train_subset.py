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
from torch.utils.data import DataLoader, IterableDataset, Subset

from lightning_modules.callbacks.attached_data import attached_datamodule

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
            Or any other iterable over batches that has a length; whole batches of it are taken.
        n_samples: Samples at most, >= 1; fewer if there are fewer, more where whole batches are taken.
        seed: Draws which samples.
        cache_bytes: Batches are kept on the CPU if all together are not larger.

    Raises:
        TypeError: If `loader` is neither, is a collection of several loaders, or holds an iterable data set that cannot
            be copied.
    """

    def __init__(self, loader: Any, *, n_samples: int, seed: int, cache_bytes: int) -> None:
        self._cache_bytes = cache_bytes
        self._cache: list[Any] | None = None
        self._loader: Iterable[Any]
        self._n_batches: int | None = None
        if isinstance(loader, DataLoader):
            self._loader, self._n_batches = _subset_loader(loader, n_samples, seed)
        elif _is_loader(loader):
            self._loader = _SomeBatches(loader, n_batches=-(-n_samples // _batch_size(loader)), seed=seed)
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


def validation_size(trainer: Trainer) -> int:
    """Samples that one run over the (first) validation dataloader reads, as far as it tells; >= 1."""
    loader = trainer.val_dataloaders
    if isinstance(loader, CombinedLoader):
        loader = loader.flattened[0]
    while isinstance(loader, dict | list | tuple) and loader:
        loader = next(iter(loader.values() if isinstance(loader, dict) else loader))
    limit = trainer.num_val_batches[0] if trainer.num_val_batches else float("inf")
    batch_size = _batch_size(loader)
    n_read = int(limit) * batch_size if limit != float("inf") else _UNKNOWN_N_BATCHES * batch_size
    dataset = getattr(loader, "dataset", None)
    if isinstance(dataset, Sized) and not isinstance(dataset, IterableDataset):
        return max(1, min(len(dataset), n_read))
    return max(1, n_read)


def _subset_loader(loader: DataLoader[Any], n_samples: int, seed: int) -> tuple[Iterable[Any], int | None]:
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
        return DataLoader(dataset, batch_size=loader.batch_size, **shared), -(-n_samples // _batch_size(loader))
    n_train = len(loader.dataset)  # type: ignore[arg-type]
    order = torch.randperm(n_train, generator=torch.Generator().manual_seed(seed))
    indices = sorted(order[:n_samples].tolist())
    # A batch_size of None without a batch sampler means that the data set's items are batches already.
    batch_size = None if loader.batch_sampler is None else _batch_size(loader)
    return DataLoader(Subset(loader.dataset, indices), batch_size=batch_size, shuffle=False, **shared), None


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

"""Make training's random state a function of (seed, epoch), so that a resumed fit draws what an uninterrupted one does.

Seeding at the start of an epoch is not enough: Lightning starts the train dataloader's iteration after
``on_train_epoch_start`` in most epochs, but long before it in the first one and in the first one after a resume, and
starting it draws random numbers. So the dataloader itself seeds, when its first batch is fetched.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from lightning_modules.callbacks.attached_data import attached_datamodule

_N_SEEDED_FETCHES = 2
"""Lightning fetches one batch ahead from loaders without a length, across the hooks between the first two fetches."""


def seed_all(seed: int, *purpose: int | str) -> None:
    """Seed Python's, NumPy's and torch's global generators (every device's) with a function of the arguments.

    Args:
        seed: Any integer.
        purpose: What the random numbers are for; different purposes give independent streams.
    """
    digest = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=32).digest()
    random.seed(digest[:8])
    np.random.seed(np.frombuffer(digest[8:24], dtype=np.uint32))
    # Not `torch.manual_seed`: it formats a stack trace for devices that are not there, which takes a millisecond.
    torch_seed = int.from_bytes(digest[24:], "big", signed=True)
    torch.default_generator.manual_seed(torch_seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(torch_seed)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(torch_seed)


class EpochSeeding(Callback):
    """Seed every epoch with a function of (`seed`, epoch): its shuffling, augmentation, dropout and the user's hooks.

    Exact for dataloaders that ``train_dataloader()`` of the module or data module returns, with any number of loader
    workers that are not persistent. Generators that such a DataLoader holds are reseeded from their own seed and the
    epoch. Loaders handed to ``Trainer.fit`` directly must be wrapped by `seeded_loaders`.

    Under a distributed strategy all processes shuffle alike, while augmentation and dropout are a function of (`seed`,
    epoch, rank), on rank 0 the same as in a single process.

    Args:
        seed: Any integer.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._epoch: int | None = None
        self._n_seedings = 0
        self._restore: Callable[[], None] = _nothing

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            data = attached_datamodule(trainer)
            owner = data if data is not None and is_overridden("train_dataloader", data) else pl_module
            self._restore = replace_method(owner, "train_dataloader", lambda make: self.seeded_loaders(trainer, make()))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._restore()
        self._restore = _nothing

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seed_all(self._seed, "epoch", trainer.current_epoch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            seed_all(self._seed, "steps", trainer.current_epoch, *_rank(trainer))

    def seeded_loaders(self, trainer: Trainer, loaders: Any) -> Any:
        """Return the same dataloaders, made to seed when the first batch of an iteration is fetched.

        Args:
            trainer: Tells the epoch.
            loaders: A DataLoader, a list, tuple, dict or CombinedLoader of them, or any iterable.
        """
        seed_fetch = functools.partial(self._seed_fetch, trainer)
        shuffling = functools.partial(_RankedShuffling, trainer, self._seed)
        if isinstance(loaders, CombinedLoader):
            loaders.flattened = [self.seeded_loaders(trainer, loader) for loader in loaders.flattened]
            return loaders
        if isinstance(loaders, DataLoader | list | tuple | dict):
            return apply_to_collection(
                loaders, DataLoader, lambda loader: _seeded_dataloader(loader, seed_fetch, shuffling())
            )
        return _SeededIterable(loaders, seed_fetch)

    def _seed_fetch(self, trainer: Trainer) -> int:
        """Seed for the next fetch of this epoch that must be seeded, and return the epoch."""
        if trainer.current_epoch != self._epoch:
            self._epoch, self._n_seedings = trainer.current_epoch, 0
        # Shuffling draws in the first fetch, alike on all ranks; what is drawn later is each rank's own.
        seed_all(self._seed, "data", self._epoch, self._n_seedings, *(_rank(trainer) if self._n_seedings else ()))
        self._n_seedings += 1
        return self._epoch


def replace_method(owner: object, name: str, make: Callable[[Callable[[], Any]], Any]) -> Callable[[], None]:
    """Shadow a method without arguments on one object; returns what undoes it.

    Args:
        owner: The object.
        name: Its method.
        make: Gets the original, bound, and returns the new result.
    """
    original = getattr(owner, name)
    was_shadowed = name in vars(owner)

    @functools.wraps(original)
    def replacement() -> Any:
        return make(original)

    def undo() -> None:
        if was_shadowed:
            setattr(owner, name, original)
        else:
            delattr(owner, name)

    setattr(owner, name, replacement)
    return undo


class _SeededIterator(Iterator[Any]):
    """Starts the real iteration, which draws random numbers, only when the first batch is wanted."""

    def __init__(self, start: Callable[[int], Iterator[Any]], seed_fetch: Callable[[], int]) -> None:
        self._start = start
        self._seed_fetch = seed_fetch
        self._n_seeded = 0
        self._batches: Iterator[Any] | None = None

    def __next__(self) -> Any:
        if self._n_seeded < _N_SEEDED_FETCHES:
            epoch = self._seed_fetch()
            self._n_seeded += 1
            if self._batches is None:
                self._batches = self._start(epoch)
        assert self._batches is not None
        return next(self._batches)


class _SeededIterable:
    """Any iterable that is no DataLoader, with the length and attributes that it has."""

    def __init__(self, iterable: Any, seed_fetch: Callable[[], int]) -> None:
        self._iterable = iterable
        self._seed_fetch = seed_fetch

    def __iter__(self) -> Iterator[Any]:
        return _SeededIterator(lambda _: iter(self._iterable), self._seed_fetch)

    def __len__(self) -> int:
        return len(self._iterable)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_iterable"], name)


class _RankedShuffling:
    """Has the ranks of a distributed strategy shuffle alike, by the seed, and augment differently."""

    def __init__(self, trainer: Trainer, seed: int) -> None:
        self._trainer = trainer
        self._seed = seed
        self._own_seeds: dict[DistributedSampler[Any], int] = {}

    def prepare(self, loader: DataLoader[Any], epoch: int) -> None:
        """Called before the loader starts an iteration."""
        sampler = self._sampler(loader)
        if sampler is None or self._trainer.world_size == 1:
            return
        own_seed = self._own_seeds.setdefault(sampler, sampler.seed)
        digest = hashlib.blake2b(repr((self._seed, "shuffling", own_seed)).encode(), digest_size=4).digest()
        sampler.seed = int.from_bytes(digest, "big")
        sampler.set_epoch(epoch)
        if self._trainer.global_rank and loader.num_workers and not isinstance(loader.worker_init_fn, _RankedWorker):
            loader.worker_init_fn = _RankedWorker(self._trainer.global_rank, loader.worker_init_fn)

    def part(self, loader: DataLoader[Any], epoch: int) -> None:
        """Called when the iteration has started: from here on, this rank draws random numbers of its own."""
        # A sampler that Lightning wraps is not read before the first batch, unless loader workers wait for it.
        is_read = loader.num_workers > 0 or type(self._sampler(loader)) is DistributedSampler
        if self._trainer.global_rank and is_read:
            seed_all(self._seed, "data", epoch, 0, *_rank(self._trainer))

    @staticmethod
    def _sampler(loader: DataLoader[Any]) -> DistributedSampler[Any] | None:
        samplers = (loader.sampler, getattr(loader.batch_sampler, "sampler", None))
        return next((each for each in samplers if isinstance(each, DistributedSampler)), None)


class _RankedWorker:
    """A loader worker's start on a rank other than 0, whose augmentation would be rank 0's otherwise."""

    def __init__(self, rank: int, start: Callable[[int], Any] | None) -> None:
        self._rank = rank
        self._start = start

    def __call__(self, worker_id: int) -> None:
        seed_all(torch.initial_seed(), "rank", self._rank)
        if self._start is not None:
            self._start(worker_id)


def _rank(trainer: Trainer) -> tuple[int | str, ...]:
    """What tells this rank's random numbers from those of rank 0."""
    return ("rank", trainer.global_rank) if trainer.global_rank else ()


def _seeded_dataloader(
    loader: DataLoader[Any], seed_fetch: Callable[[], int], shuffling: _RankedShuffling
) -> DataLoader[Any]:
    """Return a twin of the loader, still of the user's class, whose iterations seed."""
    kind = type(loader)
    generators = _generators(loader)

    class Seeded(kind):  # type: ignore[misc, valid-type]
        def __iter__(self) -> Iterator[Any]:
            def start(epoch: int) -> Iterator[Any]:
                for generator, own_seed in generators:
                    generator.manual_seed((own_seed + epoch * 0x9E3779B97F4A7C15) % 2**63)
                shuffling.prepare(self, epoch)
                batches: Iterator[Any] = super(Seeded, self).__iter__()
                shuffling.part(self, epoch)
                return batches

            return _SeededIterator(start, seed_fetch)

    Seeded.__name__, Seeded.__qualname__, Seeded.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    twin: DataLoader[Any] = object.__new__(Seeded)
    vars(twin).update(vars(loader))
    return twin


def _generators(loader: DataLoader[Any]) -> list[tuple[torch.Generator, int]]:
    """The distinct generators that the loader and its samplers hold, each with the seed it was made with."""
    owners = (loader, loader.sampler, loader.batch_sampler)
    found = [getattr(owner, "generator", None) for owner in owners]
    distinct = {id(each): each for each in found if isinstance(each, torch.Generator)}
    return [(generator, generator.initial_seed()) for generator in distinct.values()]


def _nothing() -> None:
    """Undo nothing."""

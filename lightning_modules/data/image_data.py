"""A data module over labelled images that fit into memory: splits, preprocessing, batches on the training device."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from lightning_modules.arguments import check_count, check_number
from lightning_modules.data.batch_loader import BatchLoader
from lightning_modules.data.image_source import LabelledSource
from lightning_modules.data.pixel_statistics import PixelStatistics, pixel_statistics
from lightning_modules.data.prepares_images import PreparesImages
from lightning_modules.data.preprocessing import Preprocessing
from lightning_modules.data.splits import stratified_split
from lightning_modules.data.tensor_loader import TensorLoader

_N_AT_ONCE = 1024
"""So many images are read or preprocessed together."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledImages:
    """A whole data set as it was read.

    Attributes:
        images: ``(N, C, H, W)``, of any real dtype, in their own unit.
        labels: Class of each image, ``(N,)``, from 0 on.
        is_test: ``(N,)``, which images the data set itself sets apart for the test, or None if it does not.
        is_val: Likewise for validation.
    """

    images: NDArray[np.generic]
    labels: NDArray[np.int64]
    is_test: NDArray[np.bool_] | None = None
    is_val: NDArray[np.bool_] | None = None

    def batches(self, indices: NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield some of the images ``(n, C, H, W)`` and their labels ``(n,)``, raw, on the CPU, a part at a time."""
        images, labels = torch.from_numpy(self.images), torch.from_numpy(self.labels)
        for rows in torch.split(torch.from_numpy(indices), _N_AT_ONCE):
            yield images[rows], labels[rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSplits:
    """Which images belong to which split: ascending indices, disjoint, together all of them."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """The whole data set on the training device, the train split first, then validation, then test.

    Attributes:
        images: ``(N, C, H, W)``; after preprocessing, unless `transform` is to do it.
        labels: ``(N,)``.
        raw: The images before preprocessing, where they are augmented; of 8-bit integers if they came so.
        transform: The preprocessing of each batch, or None where it is done.
        places: Where each image of the data set is, ``(N,)``.
    """

    images: Tensor
    labels: Tensor
    raw: Tensor | None
    transform: Preprocessing | None
    places: NDArray[np.int64]

    def rows(self, indices: NDArray[np.int64], *, raw: bool = False) -> TensorDataset:
        """Return some of the data set's images; those of a split are not copied."""
        images = self.raw if raw else self.images
        assert images is not None
        places = self.places[indices]
        if len(places) and np.array_equal(places, np.arange(places[0], places[0] + len(places))):
            split = slice(int(places[0]), int(places[0]) + len(places))
            return TensorDataset(images[split], self.labels[split])
        rows = torch.from_numpy(places).to(images.device)
        return TensorDataset(images[rows], self.labels[rows])


class ImageDataModule(PreparesImages):
    """Images in stratified train, validation and test splits, preprocessed, on the training device.

    The splits depend on `split_seed` and the shares alone, and the test split not on `val_share` either; the seed of
    the training moves no image. The preprocessing is fitted to the train split alone, also where train and validation
    images are trained on together. Images of 8-bit integers stay so, at a quarter of the memory, and are preprocessed
    batch by batch; others once, unless they are augmented, and whitened ones too, since whitening takes long. Several
    processes share the images out.

    A subclass says in `load` where the images come from, and passes all other keywords on.
    """

    def __init__(
        self,
        *,
        batch_size: int = 64,
        eval_batch_size: int = 512,
        test_share: float = 0.3,
        val_share: float = 0.25,
        split_seed: int = 0,
        **preparation: Any,
    ) -> None:
        """Keep the settings; nothing is loaded before `setup` or the first loader.

        Args:
            batch_size: Images of a training batch, of each process where several train together, >= 1.
            eval_batch_size: Likewise of a batch that is only evaluated, >= 1; no metric depends on it.
            test_share: Share of all images in the test split, in ``(0, 1)``; without effect where the data set has a
                test split of its own.
            val_share: Share of the others in the validation split, in ``(0, 1)``; likewise.
            split_seed: Decides the splits, >= 0.
            preparation: Preprocessing and augmentation, as for `PreparesImages`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__(**preparation)
        check_count(batch_size, name="batch_size", at_least=1)
        check_count(eval_batch_size, name="eval_batch_size", at_least=1)
        check_number(test_share, name="test_share", low=0.0, high=1.0, includes_low=False)
        check_number(val_share, name="val_share", low=0.0, high=1.0, includes_low=False)
        check_count(split_seed, name="split_seed", at_least=0)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.test_share = test_share
        self.val_share = val_share
        self.split_seed = split_seed
        self._splits: ImageSplits | None = None
        self._prepared: _Prepared | None = None

    @abstractmethod
    def load(self) -> LabelledImages:
        """Read the data set; a second call in a process should not read it again."""

    @property
    def splits(self) -> ImageSplits:
        """Which images belong to which split, as indices into those of `load`."""
        if self._splits is None:
            self._splits = self._split(self._labelled())
        return self._splits

    @property
    def n_classes(self) -> int:
        """One more than the highest label of all splits."""
        return int(self._labelled().labels.max()) + 1

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of an image: ``(C, H, W)``."""
        _, channels, height, width = self.load().images.shape
        return channels, height, width

    def raw_examples(self, n: int) -> NDArray[np.generic]:
        """Return the first `n` images of the train split, raw, ``(n, C, H, W)``; fewer if there are not so many."""
        return self.load().images[self.splits.train[:n]]

    def train_statistics(self, *, with_codeviations: bool) -> PixelStatistics:
        """Summarize the images of the train split, raw, those of one split once a process."""
        return _statistics(self.load(), self.splits.train.tobytes(), with_codeviations)

    def setup(self, stage: str | None = None) -> None:
        """Split and preprocess, and put everything on the Trainer's device; a second call changes nothing.

        Raises:
            ValueError: If a train image holds NaN or infinite values, or the images are too large to be whitened.
        """
        device = self._device()
        if self._prepared is not None and self._prepared.images.device == device:
            return
        loaded, splits = self.load(), self.splits
        order = torch.from_numpy(np.concatenate([splits.train, splits.val, splits.test]))
        places = np.empty(len(order), dtype=np.int64)
        places[order.numpy()] = np.arange(len(order))
        is_augmented, raw = self.augments_raw_images, torch.from_numpy(loaded.images)
        is_late = raw.dtype == torch.uint8 and not self.preprocessing_settings.whitens
        kept = _compact(raw)[order].to(device) if is_augmented or is_late else None
        self._prepared = _Prepared(
            images=kept if kept is not None and is_late else self._preprocessed(raw, places, device),
            labels=torch.from_numpy(loaded.labels)[order].to(device),
            raw=kept if is_augmented else None,
            transform=deepcopy(self.preprocessing).to(device) if is_late else None,
            places=places,
        )

    def train_dataloader(self) -> BatchLoader:
        """Train images, shuffled, augmented if the settings say so.

        Raises:
            ValueError: If the images do not have the size or the colours that an augmentation needs.
        """
        return self._training_loader(self.splits.train)

    def train_eval_dataloader(self) -> BatchLoader:
        """Train images as they are, in order, all on every rank: what the generalization gap is measured on."""
        return self._in_order(self.splits.train, rank=0, n_ranks=1)

    def val_dataloader(self) -> BatchLoader:
        """Validation images, in order."""
        return self._evaluation_loader(self.splits.val)

    def test_dataloader(self) -> BatchLoader:
        """Test images, in order."""
        return self._evaluation_loader(self.splits.test)

    def train_val_dataloader(self) -> BatchLoader:
        """Train and validation images together, for a last fit: as `train_dataloader`, with the same preprocessing."""
        return self._training_loader(np.union1d(self.splits.train, self.splits.val))

    def _labelled(self) -> LabelledImages | LabelledSource:
        """Return what the splits are made of."""
        return self.load()

    def _split(self, labelled: LabelledImages | LabelledSource) -> ImageSplits:
        labels = labelled.labels
        nothing = np.zeros(len(labels), dtype=np.bool_)
        is_val = nothing if labelled.is_val is None else labelled.is_val
        is_test = nothing if labelled.is_test is None else labelled.is_test
        train, val, test = np.flatnonzero(~(is_val | is_test)), np.flatnonzero(is_val), np.flatnonzero(is_test)
        if labelled.is_test is None:
            kept, held_out = stratified_split(labels[train], share=self.test_share, seed=self.split_seed)
            train, test = train[kept], train[held_out]
        if labelled.is_val is None:
            kept, held_out = stratified_split(labels[train], share=self.val_share, seed=self.split_seed)
            train, val = train[kept], train[held_out]
        return ImageSplits(train=train, val=val, test=test)

    def _training_loader(self, indices: NDArray[np.int64]) -> BatchLoader:
        data = self._tensors()
        is_augmented = data.raw is not None
        rank, n_ranks = self._place()
        return TensorLoader(
            data.rows(indices, raw=is_augmented),
            batch_size=self.batch_size,
            shuffle=True,
            transform=self.training_transform(data.images.device) if is_augmented else data.transform,
            mixup=self.training_mixup(n_classes=self.n_classes),
            is_random=self.is_random,
            rank=rank,
            n_ranks=n_ranks,
        )

    def _evaluation_loader(self, indices: NDArray[np.int64]) -> BatchLoader:
        rank, n_ranks = self._place()
        return self._in_order(indices, rank=rank, n_ranks=n_ranks)

    def _in_order(self, indices: NDArray[np.int64], *, rank: int, n_ranks: int) -> BatchLoader:
        data = self._tensors()
        return TensorLoader(
            data.rows(indices), batch_size=self.eval_batch_size, transform=data.transform, rank=rank, n_ranks=n_ranks
        )

    def _preprocessed(self, raw: Tensor, places: NDArray[np.int64], device: torch.device) -> Tensor:
        """Return all images preprocessed, each at its place, a part of them at a time."""
        images = torch.empty(raw.shape, dtype=torch.float32, device=device)
        rows = torch.from_numpy(places).to(device)
        for start in range(0, len(raw), _N_AT_ONCE):
            part = slice(start, start + _N_AT_ONCE)
            images[rows[part]] = self.preprocessing(raw[part]).to(device)
        return images

    def _device(self) -> torch.device:
        """Where training happens."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def _place(self) -> tuple[int, int]:
        """This process's rank and the number of ranks."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _tensors(self) -> _Prepared:
        self.setup()
        assert self._prepared is not None
        return self._prepared


@lru_cache(maxsize=2)
def _statistics(loaded: LabelledImages, indices: bytes, with_codeviations: bool) -> PixelStatistics:
    """Summarize some images, whose indices ``(n,)`` these are in int64; those for whitening can take a minute."""
    images = (images for images, _ in loaded.batches(np.frombuffer(indices, dtype=np.int64).copy()))
    return pixel_statistics(images, with_codeviations=with_codeviations)


def _compact(raw: Tensor) -> Tensor:
    """Raw images in a dtype that torch can index on any device; 8-bit integers stay, at a quarter of float32."""
    return raw if raw.dtype == torch.uint8 else raw.float()

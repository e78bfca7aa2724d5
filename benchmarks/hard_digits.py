"""scikit-learn's digits made harder: few training images, wrong training labels, images turned, shifted, cluttered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torch import Tensor
from torch.utils.data import TensorDataset

from lightning_modules.data.splits import stratified_split
from lightning_modules.data.tensor_loader import TensorLoader

_N_CLASSES = 10
_LARGE = 16  # pixels along each axis of a cluttered image
_MAX_TURN_DEGREES = 20.0
_SIZES = (0.75, 0.95)  # of the digit, in the image's
_MAX_SHIFT = 0.15  # in half the image's size
_N_FRAGMENTS, _FRAGMENT = 2, 4  # of other digits in each image, and their pixels along each axis
_EVAL_BATCH_SIZE = 512
_Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    train: TensorDataset
    val: TensorDataset
    test: TensorDataset


class HardDigits(pl.LightningDataModule):
    """Stratified splits of the 1,797 images; all that is random here follows from `split_seed`."""

    def __init__(
        self,
        *,
        n_train: int,
        n_val: int = 400,
        label_noise: float = 0.0,
        is_cluttered: bool = False,
        batch_size: int = 32,
        split_seed: int = 0,
    ) -> None:
        """Keep the settings.

        Args:
            n_train: Training images, >= 10.
            n_val: Validation images, >= 10; those that remain are the test split.
            label_noise: Share of the training images whose label is replaced by another one, in ``[0, 1]``; the labels
                of the other splits are right.
            is_cluttered: Whether images are 16x16 with the digit turned, scaled and shifted among fragments of others,
                instead of 8x8 as they are.
            batch_size: Images of a training batch, >= 1.
            split_seed: >= 0.
        """
        super().__init__()
        self._n_train = n_train
        self._n_val = n_val
        self._label_noise = label_noise
        self._is_cluttered = is_cluttered
        self._batch_size = batch_size
        self._split_seed = split_seed
        self._prepared: _Prepared | None = None

    def setup(self, stage: str | None = None) -> None:
        """Split, distort and standardize; a second call changes nothing."""
        if self._prepared is not None:
            return
        images, labels = _digits(clutter_seed=self._split_seed if self._is_cluttered else None)
        train, val, test = self._splits(labels)
        images = (images - images[train].mean()) / images[train].std()
        given = torch.from_numpy(self._with_noise(labels, train))
        self._prepared = _Prepared(
            train=TensorDataset(images[train], given[train]),
            val=TensorDataset(images[val], given[val]),
            test=TensorDataset(images[test], given[test]),
        )

    def train_dataloader(self) -> TensorLoader:
        """Training images, shuffled."""
        return TensorLoader(self._data().train, batch_size=self._batch_size, shuffle=True)

    def train_eval_dataloader(self) -> TensorLoader:
        """Training images with the labels that were trained on, in order: what the gap is measured on."""
        return TensorLoader(self._data().train, batch_size=_EVAL_BATCH_SIZE)

    def val_dataloader(self) -> TensorLoader:
        """Validation images, in order."""
        return TensorLoader(self._data().val, batch_size=_EVAL_BATCH_SIZE)

    def test_dataloader(self) -> TensorLoader:
        """Test images, in order."""
        return TensorLoader(self._data().test, batch_size=_EVAL_BATCH_SIZE)

    def _data(self) -> _Prepared:
        self.setup()
        assert self._prepared is not None
        return self._prepared

    def _splits(self, labels: _Rows) -> tuple[_Rows, _Rows, _Rows]:
        n_known = self._n_train + self._n_val
        test, known = stratified_split(labels, share=n_known / len(labels), seed=self._split_seed)
        train, val = stratified_split(labels[known], share=self._n_val / n_known, seed=self._split_seed)
        return known[train], known[val], test

    def _with_noise(self, labels: _Rows, train: _Rows) -> _Rows:
        rng = np.random.default_rng([self._split_seed, 1])
        wrong = rng.choice(train, size=round(self._label_noise * len(train)), replace=False)
        noisy = labels.copy()
        noisy[wrong] = (labels[wrong] + rng.integers(1, _N_CLASSES, size=len(wrong))) % _N_CLASSES
        return noisy


@lru_cache(maxsize=1)
def _digits(*, clutter_seed: int | None) -> tuple[Tensor, _Rows]:
    """Return images and labels; kept for the next training, which has the same."""
    digits = load_digits()
    images = torch.from_numpy(digits.images.astype(np.float32)).unsqueeze(1)
    if clutter_seed is not None:
        images = _cluttered(images, seed=clutter_seed)
    return images, digits.target.astype(np.int64)


def _cluttered(images: Tensor, *, seed: int) -> Tensor:
    """Return images ``(N, 1, 16, 16)`` of digits ``(N, 1, 8, 8)``, each distorted in its own way."""
    generator = torch.Generator().manual_seed(seed)
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    angles = uniform(-1.0, 1.0) * math.radians(_MAX_TURN_DEGREES)
    zooms = 1.0 / uniform(*_SIZES)
    cosines, sines = zooms * angles.cos(), zooms * angles.sin()
    rights, downs = uniform(-_MAX_SHIFT, _MAX_SHIFT), uniform(-_MAX_SHIFT, _MAX_SHIFT)
    rows = (
        torch.stack((cosines, -sines, sines * downs - cosines * rights), dim=1),
        torch.stack((sines, cosines, -sines * rights - cosines * downs), dim=1),
    )
    grid = torch.nn.functional.affine_grid(torch.stack(rows, dim=1), [n, 1, _LARGE, _LARGE], align_corners=False)
    clean = torch.nn.functional.grid_sample(images, grid, align_corners=False)
    result = clean.clone()
    samples = torch.arange(n)[:, None, None]
    for _ in range(_N_FRAGMENTS):
        others = torch.randint(n, (n,), generator=generator)[:, None, None]
        # From the middle of the other image, where its digit is, to anywhere in this one.
        places = [
            torch.randint(low, high, (n,), generator=generator)[:, None] + torch.arange(_FRAGMENT)
            for low, high in ((4, _LARGE - 7), (4, _LARGE - 7), (0, _LARGE - 3), (0, _LARGE - 3))
        ]
        source = (others, 0, places[0][:, :, None], places[1][:, None, :])
        target = (samples, 0, places[2][:, :, None], places[3][:, None, :])
        result[target] = torch.maximum(result[target], clean[source])
    return result

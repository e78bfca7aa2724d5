"""A data module of random images, for tests of what is done to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_modules.data.image_data import ImageDataModule, LabelledImages


class RandomImages(ImageDataModule):
    """Images of 8-bit integers in three classes, a tenth of them a test split of their own."""

    def __init__(self, *, images: NDArray[np.generic] | None = None, **image_data: Any) -> None:
        super().__init__(**image_data)
        self._loaded = LabelledImages(
            images=random_images() if images is None else images,
            labels=np.arange(N_IMAGES) % 3,
            is_test=np.arange(N_IMAGES) % 10 == 9,
        )

    def load(self) -> LabelledImages:
        return self._loaded


N_IMAGES = 120


def random_images(*, n_channels: int = 3, height: int = 6, width: int = 5) -> NDArray[np.uint8]:
    """Images ``(N_IMAGES, C, H, W)`` whose pixels differ in mean and spread, each a mixture of its neighbours."""
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(N_IMAGES, n_channels, height + 1, width + 1))
    smooth = noise[:, :, 1:, 1:] + noise[:, :, :-1, 1:] + 0.5 * noise[:, :, 1:, :-1]
    place = generator.uniform(80.0, 160.0, size=(1, n_channels, height, width))
    spread = generator.uniform(5.0, 20.0, size=(1, n_channels, height, width))
    return np.clip(place + spread * smooth, 0.0, 255.0).astype(np.uint8)

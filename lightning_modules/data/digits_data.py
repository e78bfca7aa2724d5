"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 pixels in 10 classes."""

from __future__ import annotations

from functools import cache

import numpy as np
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

from lightning_modules.data.image_data import ImageDataModule, LabelledImages


class DigitsDataModule(ImageDataModule):
    """The digits, which come with scikit-learn; raw pixels in ``[0, 16]``.

    They fill their frame, so that a `max_shift` of even 1 lowers the accuracy.
    """

    def load(self) -> LabelledImages:
        """Return all images ``(1797, 1, 8, 8)``, in the order of ``sklearn.datasets.load_digits()``."""
        return _digits()


@cache
def _digits() -> LabelledImages:
    """Read once a process, since parsing them takes a while."""
    digits = load_digits()
    return LabelledImages(images=digits.images.astype(np.float32)[:, np.newaxis], labels=digits.target.astype(np.int64))

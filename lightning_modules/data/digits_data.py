"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 pixels in 10 classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

from lightning_modules.data.image_data import ImageDataModule, LabelledImages


class DigitsDataModule(ImageDataModule):
    """The digits, which come with scikit-learn; raw pixels in ``[0, 16]``.

    They fill their frame, so that a `max_shift` of even 1 lowers the accuracy.
    """

    def __init__(self, *, classes: Sequence[int] | None = None, **images: Any) -> None:
        """Keep the settings; nothing is loaded before `setup` or the first loader.

        Args:
            classes: Which digits there are, at least two, each in ``[0, 9]`` and once; their labels are their places in
                this list, from 0 on. All ten by default.
            images: Splits, preprocessing, batches, as for `ImageDataModule`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__(**images)
        self.classes = None if classes is None else _checked(classes)

    def load(self) -> LabelledImages:
        """Return the images of the classes ``(N, 1, 8, 8)``, in the order of ``sklearn.datasets.load_digits()``."""
        digits = _digits()
        if self.classes is None:
            return digits
        is_meant = np.isin(digits.labels, self.classes)
        places = np.array([self.classes.index(digit) if digit in self.classes else -1 for digit in range(10)])
        return LabelledImages(images=digits.images[is_meant], labels=places[digits.labels[is_meant]])


def _checked(classes: Sequence[int]) -> tuple[int, ...]:
    are_digits = isinstance(classes, list | tuple) and all(
        isinstance(each, int) and not isinstance(each, bool) and 0 <= each <= 9 for each in classes
    )
    if not are_digits or len(set(classes)) < max(len(classes), 2):
        raise ValueError(f"`classes` must be a list of at least two different digits, but got {classes!r}.")
    return tuple(classes)


@cache
def _digits() -> LabelledImages:
    """Read once a process, since parsing them takes a while."""
    digits = load_digits()
    return LabelledImages(images=digits.images.astype(np.float32)[:, np.newaxis], labels=digits.target.astype(np.int64))

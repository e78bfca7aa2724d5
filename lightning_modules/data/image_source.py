"""Images that are read when they are asked for, because they need not fit into memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray


class ImageSource(ABC):
    """Images of one size, in an order of their own; loader processes get a pickled copy of it."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int, int]:
        """How many images, channels, rows and columns: ``(N, C, H, W)``."""

    @abstractmethod
    def read(self, indices: NDArray[np.int64]) -> NDArray[np.generic]:
        """Return images ``(n, C, H, W)``, in the order of `indices` ``(n,)``, in an array of the caller's own.

        Raises:
            UnfitArgumentError: If one cannot be read, or is of another size than the others.
        """

    def read_all(self) -> NDArray[np.generic]:
        """Return all images ``(N, C, H, W)``."""
        return self.read(np.arange(self.shape[0]))


class JoinedSource(ImageSource):
    """Several sources of images of one size, one after the other."""

    def __init__(self, parts: Sequence[ImageSource]) -> None:
        """Keep the parts, at least one.

        Raises:
            ValueError: If their images are not all of one size.
        """
        sizes = sorted({part.shape[1:] for part in parts})
        if len(sizes) != 1:
            raise ValueError(f"All images must be of one size (C, H, W), but got {sizes}.")
        self._parts = tuple(parts)
        self._ends = np.array(list(accumulate(part.shape[0] for part in parts)))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return int(self._ends[-1]), *self._parts[0].shape[1:]

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.generic]:
        owners = np.searchsorted(self._ends, indices, side="right")
        pieces = []
        for index, part in enumerate(self._parts):
            start = self._ends[index] - part.shape[0]
            pieces.append(part.read(indices[owners == index] - start))
        joined = np.concatenate(pieces)
        places = np.concatenate([np.flatnonzero(owners == index) for index in range(len(self._parts))])
        return joined[np.argsort(places, kind="stable")]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledSource:
    """A whole data set whose images are still to be read.

    Attributes:
        source: The images.
        labels: Class of each image, ``(N,)``, from 0 on.
        is_val: ``(N,)``, which images the data set itself sets apart for validation, or None if it does not.
        is_test: Likewise for the test.
    """

    source: ImageSource
    labels: NDArray[np.int64]
    is_val: NDArray[np.bool_] | None = None
    is_test: NDArray[np.bool_] | None = None

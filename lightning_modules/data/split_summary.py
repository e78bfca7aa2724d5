"""What is in a split: how many images of each class, and values that tell of broken data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSummary:
    """Counts over the images and labels of one split.

    Attributes:
        class_counts: Images of each class; classes are counted from 0 to the highest that was seen, or expected.
        n_out_of_range_labels: Labels < 0, or beyond the classes that were expected.
        n_not_finite_images: Images that hold NaN or an infinite value.
        n_constant_images: Images all of whose values are the same.
        n_constant_pixels: Values of an image, of `n_pixels`, that are the same in every finite image.
        n_pixels: Values of an image, C * H * W.
        low: Lowest finite value, NaN if there is none.
        high: Highest finite value, likewise.
    """

    class_counts: tuple[int, ...]
    n_out_of_range_labels: int
    n_not_finite_images: int
    n_constant_images: int
    n_constant_pixels: int
    n_pixels: int
    low: float
    high: float

    @property
    def n_images(self) -> int:
        """How many images there are."""
        return sum(self.class_counts) + self.n_out_of_range_labels

    @property
    def missing_classes(self) -> tuple[int, ...]:
        """Classes without an image."""
        return tuple(class_ for class_, count in enumerate(self.class_counts) if count == 0)

    @property
    def imbalance(self) -> float:
        """Images of the most frequent class over those of the least frequent one that has any; 1 = balanced."""
        present = [count for count in self.class_counts if count]
        return max(present) / min(present) if present else float("nan")


def summarize_split(batches: Iterable[tuple[Tensor, Tensor]], *, n_classes: int | None = None) -> SplitSummary:
    """Read a split once.

    Args:
        batches: Images ``(n, C, H, W)`` of any real dtype and size, all alike, without augmentation, and their classes
            ``(n,)``, integers; at least one image in all.
        n_classes: How many classes are expected, or None if the labels alone tell.

    Raises:
        ValueError: If there is no image.
    """
    counts: Counter[int] = Counter()
    n_not_finite = n_constant_images = 0
    lows: Tensor | None = None
    highs: Tensor | None = None
    for images, labels in batches:
        if not len(images):
            continue
        counts.update(labels.tolist())
        flat = images.flatten(1)
        n_constant_images += int((flat == flat[:, :1]).all(dim=1).sum())
        is_finite = torch.isfinite(flat).all(dim=1)
        n_not_finite += int((~is_finite).sum())
        lows, highs = _extended(lows, highs, flat[is_finite].double(), n_pixels=flat.shape[1])
    if lows is None or highs is None:
        raise ValueError("A split must have an image, but there is none.")
    n_known = n_classes if n_classes is not None else max(0, *counts) + 1
    has_finite = bool((lows <= highs).all())
    return SplitSummary(
        class_counts=tuple(counts[class_] for class_ in range(n_known)),
        n_out_of_range_labels=sum(count for class_, count in counts.items() if not 0 <= class_ < n_known),
        n_not_finite_images=n_not_finite,
        n_constant_images=n_constant_images,
        n_constant_pixels=int((lows == highs).sum()),
        n_pixels=len(lows),
        low=float(lows.min()) if has_finite else float("nan"),
        high=float(highs.max()) if has_finite else float("nan"),
    )


def _extended(lows: Tensor | None, highs: Tensor | None, rows: Tensor, *, n_pixels: int) -> tuple[Tensor, Tensor]:
    """Lowest and highest of each value, `rows` ``(n, n_pixels)`` included."""
    nowhere = torch.full((1, n_pixels), torch.inf, dtype=rows.dtype, device=rows.device)
    lowest = torch.cat([rows, nowhere]).amin(dim=0)
    highest = torch.cat([rows, -nowhere]).amax(dim=0)
    return (
        lowest if lows is None else torch.minimum(lows, lowest),
        highest if highs is None else torch.maximum(highs, highest),
    )

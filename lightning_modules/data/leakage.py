"""Whether an image of one split also stands in another: what was trained on must not be what is measured with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Images that two splits share.

    Attributes:
        source: Name of the split that comes first.
        split: Name of the other one.
        n_images: How many images of `split` also stand in `source`, >= 1.
        n_in_split: How many images `split` has.
        examples: Up to `MAX_EXAMPLES` pairs: an image's position in `source`, and in `split`.
    """

    source: str
    split: str
    n_images: int
    n_in_split: int
    examples: tuple[tuple[int, int], ...]


MAX_EXAMPLES = 5
"""So many shared images are named; the others are counted."""


def find_leaks(splits: Mapping[str, Iterable[Tensor]]) -> tuple[Leak, ...]:
    """Find the images that stand in two splits, value by value the same.

    Each image is read once, and kept as a hash of 16 bytes. Images that differ in a single value, or in dtype, are
    different ones.

    Args:
        splits: The images of each split by its name, such as ``train``, ``val``, ``test``, as batches
            ``(n, C, H, W)`` without augmentation, all of one dtype.

    Returns:
        One for each two splits that share an image, in the order of `splits`.
    """
    digests = {
        name: [digest for batch in batches for digest in image_digests(batch)] for name, batches in splits.items()
    }
    leaks = []
    for source, split in combinations(digests, 2):
        place_in_source = {digest: place for place, digest in reversed(list(enumerate(digests[source])))}
        pairs = [
            (place_in_source[digest], place) for place, digest in enumerate(digests[split]) if digest in place_in_source
        ]
        if pairs:
            leaks.append(
                Leak(
                    source=source,
                    split=split,
                    n_images=len(pairs),
                    n_in_split=len(digests[split]),
                    examples=tuple(pairs[:MAX_EXAMPLES]),
                )
            )
    return tuple(leaks)


def image_digests(images: Tensor) -> Iterator[bytes]:
    """Yield a hash of the values of each image of a batch ``(n, C, H, W)``, 16 bytes; alike for equal images alone."""
    rows = images.detach().cpu().contiguous().flatten(1).view(torch.uint8).numpy()
    for row in rows:
        yield hashlib.blake2b(row.data, digest_size=16).digest()

"""Do images of the validation or the test split also stand in train?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set

import torch
from torch import Tensor

from lightning_modules.checks.finding import Finding, Verdict

_MOST_SHARE = 0.01


def image_hashes(images: Tensor) -> list[bytes]:
    """Return a digest of each image's values ``(N, …)``; equal images of one dtype and shape have equal ones."""
    # NumPy has no bfloat16, and the sign of a zero is no difference.
    rows = (images.detach().cpu() + 0).contiguous().flatten(1).view(torch.uint8).numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]


def duplicates(
    train: Set[bytes], held_out: Sequence[bytes], *, split: str, are_all: bool = True, augmented: bool = False
) -> Finding:
    """Count the images of a held-out split that stand in train, pixel by pixel the same.

    Args:
        train: Digests of the train images.
        held_out: Digests of the other split's images, at least one.
        split: Its name (``val``, ``test``).
        are_all: Whether both splits are complete.
        augmented: Whether the train images are as the train loader yields them: one that it changes is not found.
    """
    n = sum(each in train for each in held_out)
    share = n / len(held_out)
    verdict = Verdict.OK if n == 0 else Verdict.WARNING if share <= _MOST_SHARE else Verdict.FAILED
    limits = [
        *([] if are_all else ["of the images that were read"]),
        *(["as the train loader yields them"] if augmented else []),
    ]
    return Finding(
        check=f"leakage ({split})",
        verdict=verdict,
        seen=f"{n:,} of {len(held_out):,} {split} images also stand in train ({share:.1%})"
        + (f"; {', '.join(limits)}" if limits else ""),
        healthy=f"none; failed over {_MOST_SHARE:.0%}",
        advice="" if n == 0 else f"split first, then augment or repeat; remove what train and {split} share",
        figures={"n_duplicates": float(n), "share": share},
    )

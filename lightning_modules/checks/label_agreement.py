"""Do labels go with the images: has an image more often than by chance the label of the one that looks most like it?"""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import Tensor, nn

from lightning_modules.checks.finding import CannotBeCheckedError, Finding, Verdict

MOST_IMAGES = 1000
"""More than these are not looked at."""

_FEWEST_IMAGES = 50
_SIDE = 16
_DEVIATIONS = 3.0


def label_agreement(images: Tensor, labels: Tensor) -> Finding:
    """Compare the labels of nearest neighbours, by pixels, with chance; no network takes part.

    Shuffled labels, which a network learns by heart as well as right ones, have none. Neither have images whose classes
    differ in nothing that pixels show, so that this is a warning only.

    Args:
        images: ``(N, …)`` of one split, N >= 50; the first 1000 are taken, larger ones than 16 x 16 scaled down.
        labels: ``(N,)``, integers.

    Raises:
        CannotBeCheckedError: If there are fewer images, or only one class.
    """
    images, labels = images[:MOST_IMAGES], labels[:MOST_IMAGES]
    n = len(labels)
    counts = Counter(labels.tolist()).values()
    chance = sum((count / n) ** 2 for count in counts)
    if n < _FEWEST_IMAGES or len(counts) < 2:
        raise CannotBeCheckedError(
            f"it takes {_FEWEST_IMAGES} images of two classes, but there are {n} of {len(counts)}"
        )
    values = images.float()
    if values.ndim == 4 and max(values.shape[2:]) > _SIDE:
        values = nn.functional.adaptive_avg_pool2d(values, _SIDE)
    flat = values.flatten(1)
    if not bool(torch.isfinite(flat).all()):
        raise CannotBeCheckedError("there are images with NaN or infinities")
    distances = torch.cdist(flat, flat)
    distances.fill_diagonal_(math.inf)
    agreement = float((labels[distances.argmin(dim=1)] == labels).double().mean())
    deviation = math.sqrt(chance * (1.0 - chance) / n)
    is_ok = agreement > chance + _DEVIATIONS * deviation
    return Finding(
        check="labels and images",
        verdict=Verdict.OK if is_ok else Verdict.WARNING,
        seen=f"{agreement:.0%} of {n:,} images have the label of the image most like them; by chance {chance:.0%}",
        healthy=f"more than {chance + _DEVIATIONS * deviation:.0%}, three standard deviations over chance",
        advice=""
        if is_ok
        else "look at images with their labels: shuffled, shifted by one, or sorted apart from the images?",
        figures={"agreement": agreement, "chance": chance},
    )

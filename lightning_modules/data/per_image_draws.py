"""Random numbers, one for each image of a batch.

They come from torch's global generator on the CPU, whatever the images' device: it is what seeds an epoch, and what
`TensorLoader` moves apart on the ranks of a distributed strategy.
"""

from __future__ import annotations

import torch
from torch import Tensor


def uniform_draws(images: Tensor, *, low: float, high: float) -> Tensor:
    """Return one number of ``[low, high)`` for each of `images` ``(N, C, H, W)``, as ``(N, 1, 1, 1)`` on its device."""
    draws = low + (high - low) * torch.rand(len(images), 1, 1, 1)
    return draws.to(images.device)

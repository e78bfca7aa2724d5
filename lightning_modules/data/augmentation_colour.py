"""Augmentation that changes values where they are: brightness, contrast, saturation and hue, by a draw for each image.

Values are raw ones: `low` is black and `high` is white, and nothing leaves that range.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_modules.data.per_image_draws import uniform_draws

_LUMA = (0.299, 0.587, 0.114)
_RGB_TO_YIQ = torch.tensor([_LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)], dtype=torch.float64)
_YIQ_TO_RGB = torch.linalg.inv(_RGB_TO_YIQ)


def random_brightness(images: Tensor, *, max_change: float, low: float, high: float) -> Tensor:
    """Multiply each image's distance from black by a factor of ``[1 - max_change, 1 + max_change)``.

    Args:
        images: Floating, ``(N, C, H, W)``, in ``[low, high]``.
        max_change: In ``[0, 1]``.
        low: Black.
        high: White.
    """
    factors = uniform_draws(images, low=1.0 - max_change, high=1.0 + max_change)
    return (low + factors * (images - low)).clamp(low, high)


def random_contrast(images: Tensor, *, max_change: float, low: float, high: float) -> Tensor:
    """Multiply each image's distance from its own mean grey by a factor of ``[1 - max_change, 1 + max_change)``.

    Args:
        images: Floating, ``(N, C, H, W)``, in ``[low, high]``.
        max_change: In ``[0, 1]``.
        low: Black.
        high: White.
    """
    factors = uniform_draws(images, low=1.0 - max_change, high=1.0 + max_change)
    means = _grey(images).mean((1, 2, 3), keepdim=True)
    return (means + factors * (images - means)).clamp(low, high)


def random_colour(images: Tensor, *, max_saturation: float, max_hue: float, low: float, high: float) -> Tensor:
    """Scale each image's colourfulness and turn its hue; greys stay what they are.

    Both happen in the two chroma coordinates of the YIQ colour space, so an image's luma changes only where a value
    would leave the range.

    Args:
        images: Floating, ``(N, 3, H, W)``, red, green and blue, in ``[low, high]``.
        max_saturation: The chroma is multiplied by a factor of ``[1 - max_saturation, 1 + max_saturation)``, in
            ``[0, 1]``.
        max_hue: It is turned by up to this many degrees either way, in ``[0, 180]``.
        low: Black.
        high: White.

    Source:
        FCC 1953, NTSC: luma and the chroma coordinates I and Q.
    """
    factors = uniform_draws(images, low=1.0 - max_saturation, high=1.0 + max_saturation).flatten()
    angles = math.radians(max_hue) * uniform_draws(images, low=-1.0, high=1.0).flatten()
    cos, sin, zeros = factors * angles.cos(), factors * angles.sin(), torch.zeros_like(factors)
    turned = torch.stack([torch.ones_like(zeros), zeros, zeros, zeros, cos, -sin, zeros, sin, cos], dim=1)
    matrices = _YIQ_TO_RGB.to(images) @ turned.reshape(-1, 3, 3).to(images.dtype) @ _RGB_TO_YIQ.to(images)
    return (low + torch.einsum("nij,njhw->nihw", matrices, images - low)).clamp(low, high)


def _grey(images: Tensor) -> Tensor:
    """The luma of red, green and blue, the mean of any other channels, ``(N, 1, H, W)``."""
    if images.shape[1] != len(_LUMA):
        return images.mean(dim=1, keepdim=True)
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device).reshape(1, 3, 1, 1)
    return (weights * images).sum(dim=1, keepdim=True)

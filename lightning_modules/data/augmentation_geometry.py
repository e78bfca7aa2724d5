"""Augmentation that moves pixels: mirror, turn and resize, each image of a batch by its own draw."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lightning_modules.data.per_image_draws import uniform_draws


def random_flip(images: Tensor, *, probability: float) -> Tensor:
    """Mirror some images left to right.

    Args:
        images: ``(N, C, H, W)``.
        probability: Of each image to be mirrored, in ``[0, 1]``.

    Source:
        CS231n, "Training Neural Networks II", data augmentation: horizontal flips.
    """
    return torch.where(uniform_draws(images, low=0.0, high=1.0) < probability, images.flip(3), images)


def random_affine(images: Tensor, *, max_rotation: float, max_scale: float, fill: float) -> Tensor:
    """Turn and resize each image about its centre, by bilinear interpolation.

    Args:
        images: Floating, ``(N, C, H, W)``.
        max_rotation: The angle is uniform between minus and plus this, in degrees, >= 0.
        max_scale: The logarithm of the magnification is uniform between those of ``1 / (1 + max_scale)`` and
            ``1 + max_scale``, >= 0.
        fill: Value of what comes in from outside, in the images' unit.

    Returns:
        ``(N, C, H, W)``, all values between the images' and `fill`.
    """
    n_images, _, height, width = images.shape
    angles = math.radians(max_rotation) * uniform_draws(images, low=-1.0, high=1.0).flatten()
    shrinkings = torch.exp(math.log1p(max_scale) * uniform_draws(images, low=-1.0, high=1.0).flatten())
    # Where each pixel comes from, in the units of `affine_grid`: half the width and half the height.
    cos, sin = shrinkings * angles.cos(), shrinkings * angles.sin()
    zeros = torch.zeros_like(cos)
    to_source = torch.stack([cos, -sin * height / width, zeros, sin * width / height, cos, zeros], dim=1)
    grid = nn.functional.affine_grid(
        to_source.reshape(n_images, 2, 3).to(images.dtype), list(images.shape), align_corners=False
    )
    return nn.functional.grid_sample(images - fill, grid, padding_mode="zeros", align_corners=False) + fill

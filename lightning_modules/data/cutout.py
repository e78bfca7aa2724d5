"""Augmentation that hides a square of each image of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules.data.per_image_draws import uniform_draws


def random_cutout(images: Tensor, *, size: int, fill: Tensor) -> Tensor:
    """Fill a square of each image; its centre is any pixel, so that part of it may lie outside.

    Args:
        images: Floating, ``(N, C, H, W)``.
        size: Side of the square in pixels, >= 0.
        fill: What it is filled with, ``(C, 1, 1)``, in the images' unit.

    Source:
        DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout" (arXiv
        1708.04552): the mean of the data is the filling.
    """
    _, _, height, width = images.shape
    hidden_rows = _hidden(uniform_draws(images, low=0.0, high=float(height)), size=size, n=height)
    hidden_columns = _hidden(uniform_draws(images, low=0.0, high=float(width)), size=size, n=width)
    hidden = hidden_rows[:, None, :, None] & hidden_columns[:, None, None, :]
    return torch.where(hidden, fill, images)


def _hidden(centres: Tensor, *, size: int, n: int) -> Tensor:
    """Which of `n` rows or columns the square of each image covers, ``(N, n)``."""
    first = centres.flatten().floor().clamp(max=n - 1) - size // 2
    positions = torch.arange(n, device=centres.device)
    return (positions >= first[:, None]) & (positions < first[:, None] + size)

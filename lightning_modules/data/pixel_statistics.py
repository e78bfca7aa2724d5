"""What preprocessing and augmentation must know of the train images, from one pass over them, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_COVARIANCE_VALUES = 4096
"""Values (C * H * W) of an image up to which a covariance matrix is made; 3072 for 32x32 pixels in colour."""

_N_IN_CACHE = 128
"""Images that are summarized together; more of them leave the processor's cache."""

_N_FOR_CODEVIATIONS = 1024
"""The same where a matrix product is all of the work."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PixelStatistics:
    """Moments of each value of an image over many images, in float64.

    Attributes:
        n_images: How many images there were, >= 1.
        mean_chw: Mean image, ``(C, H, W)``.
        squared_deviations_chw: Sum over the images of the squared deviations from it, ``(C, H, W)``.
        low: What black is: 0 for images of 8-bit integers, else the lowest value that there was.
        high: What white is: 255 for images of 8-bit integers, else the highest value that there was.
        codeviations: Sum over the images of the products of deviations, ``(C * H * W, C * H * W)``, if asked for.
    """

    n_images: int
    mean_chw: Tensor
    squared_deviations_chw: Tensor
    low: float
    high: float
    codeviations: Tensor | None = None

    def of_all(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of all values of all images, each ``(1, 1, 1)``."""
        return self._pooled(self.mean_chw.mean().reshape(1, 1, 1))

    def of_channels(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of all values of each channel, each ``(C, 1, 1)``."""
        return self._pooled(self.mean_chw.mean((1, 2), keepdim=True))

    def of_pixels(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each value of an image, each ``(C, H, W)``."""
        return self._pooled(self.mean_chw)

    def _pooled(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Pool what shares a mean; the standard deviation is the unbiased one, as torch's."""
        squared = (self.squared_deviations_chw + self.n_images * (self.mean_chw - mean) ** 2).sum_to_size(mean.shape)
        n_pooled = self.n_images * self.mean_chw.numel() // mean.numel()
        return mean, (squared / max(n_pooled - 1, 1)).sqrt()


def pixel_statistics(batches: Iterable[Tensor], *, with_codeviations: bool = False) -> PixelStatistics:
    """Read images once and summarize them.

    Args:
        batches: Images ``(n, C, H, W)`` of any real dtype, all of one size, at least one image in all.
        with_codeviations: Whether `PixelStatistics.codeviations` is wanted, which takes ``C * H * W`` times the work.

    Raises:
        ValueError: If there is no image, a value is NaN or infinite, or the images are too large for `codeviations`.

    Source:
        Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance": moments of parts are merged
        without the cancellation of a sum of squares.
    """
    merged: PixelStatistics | None = None
    for images in batches:
        for part in torch.split(images, _N_FOR_CODEVIATIONS if with_codeviations else _N_IN_CACHE):
            if len(part):
                statistics = _of_a_part(part, with_codeviations=with_codeviations)
                merged = statistics if merged is None else _merge(merged, statistics)
    if merged is None:
        raise ValueError("There must be a train image to fit the preprocessing to, but there is none.")
    return merged


def _of_a_part(images: Tensor, *, with_codeviations: bool) -> PixelStatistics:
    n_wrong = int((~torch.isfinite(images)).sum()) if images.is_floating_point() else 0
    if n_wrong:
        raise ValueError(f"The train images must be finite, but {n_wrong} values of a batch are NaN or infinite.")
    n_values = images[0].numel()
    if with_codeviations and n_values > MAX_COVARIANCE_VALUES:
        raise ValueError(
            f"Whitening is for images of at most {MAX_COVARIANCE_VALUES} values, since it takes the square of that in "
            f"memory, but these of {tuple(images.shape[1:])} have {n_values}: choose another `preprocessing_scheme`."
        )
    is_8_bit = images.dtype == torch.uint8
    low, high = (0.0, 255.0) if is_8_bit else (float(images.min()), float(images.max()))
    deviations = images.to(torch.float64, copy=True)
    mean = deviations.mean(dim=0)
    deviations -= mean  # in place, here and below: memory for copies would take most of the time
    flat = deviations.flatten(1)
    codeviations = flat.T @ flat if with_codeviations else None
    return PixelStatistics(
        n_images=len(images),
        mean_chw=mean,
        squared_deviations_chw=deviations.square_().sum(dim=0),
        low=low,
        high=high,
        codeviations=codeviations,
    )


def _merge(one: PixelStatistics, other: PixelStatistics) -> PixelStatistics:
    n_images = one.n_images + other.n_images
    apart = other.mean_chw - one.mean_chw
    weight = one.n_images * other.n_images / n_images
    codeviations = None
    if one.codeviations is not None and other.codeviations is not None:
        codeviations = one.codeviations + other.codeviations + weight * torch.outer(apart.flatten(), apart.flatten())
    return PixelStatistics(
        n_images=n_images,
        mean_chw=one.mean_chw + apart * (other.n_images / n_images),
        squared_deviations_chw=one.squared_deviations_chw + other.squared_deviations_chw + weight * apart**2,
        low=min(one.low, other.low),
        high=max(one.high, other.high),
        codeviations=codeviations,
    )

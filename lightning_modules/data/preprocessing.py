"""From raw images to a network's input: centring, standardization, whitening, fitted once and then fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from lightning_modules.arguments import check_choice, check_number
from lightning_modules.data.pixel_statistics import PixelStatistics

WHITENINGS: tuple[str, ...] = ("pca_whitening", "zca_whitening")
"""Names of the schemes that need the covariance of all values of an image."""

SCHEMES: tuple[str, ...] = (
    *("none", "center_channels", "center_pixels"),
    *("standardize", "standardize_channels", "standardize_pixels"),
    *WHITENINGS,
)
"""Names of the schemes."""

_NEGLIGIBLE = 1e-6
"""Standard deviations below this share of all values' are taken for rounding errors of a constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessingSettings:
    """A scheme's name and what it needs.

    Attributes:
        scheme: ``none`` (raw values); ``center_channels`` and ``center_pixels`` (minus the mean of each channel, or of
            each value of the image: the mean image); ``standardize``, ``standardize_channels`` and
            ``standardize_pixels`` (minus the mean, divided by the standard deviation, of all values, of each channel or
            of each value; what is constant is only centred); ``pca_whitening`` (minus the mean image, turned to the
            principal components, each divided by its standard deviation, the largest first; what is left has no
            spatial order) and ``zca_whitening`` (the same turned back, which looks like an image again).
        whitening_epsilon: Added to the variance of each principal component before its root is taken, as a share of
            the mean variance of the values of an image, >= 0: more of it smooths, since it leaves components small
            that hardly vary. Without effect on the other schemes.

    Source:
        CS231n, "Neural Networks Part 2: Setting up the Data and the Model", data preprocessing. zca_whitening:
        Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images", appendix A.
    """

    scheme: str = "standardize"
    whitening_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: If one is out of its bounds.
        """
        check_choice(self.scheme, name="preprocessing_scheme", choices=SCHEMES)
        check_number(self.whitening_epsilon, name="whitening_epsilon", low=0.0, includes_low=True)

    @property
    def whitens(self) -> bool:
        """Whether it takes the `PixelStatistics.codeviations`."""
        return self.scheme in WHITENINGS


class Preprocessing(nn.Module):
    """Map raw images to a network's input; put before the network, it makes a model of raw images.

    It holds everything that it needs in its ``state_dict()``: ``mean``, ``std`` and, if it whitens, ``whitening``.
    `from_state_dict` makes it again.

    Attributes:
        mean: Subtracted, in the unit of the raw values; its shape broadcasts to ``(C, H, W)``.
        std: What is left is divided by it; likewise.
        whitening: What is left, flattened to rows, is multiplied by it, ``(C * H * W, C * H * W)``; or None.
    """

    mean: Tensor
    std: Tensor
    whitening: Tensor | None

    def __init__(self, *, mean: Tensor, std: Tensor, whitening: Tensor | None = None) -> None:
        """Keep them as buffers."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("whitening", whitening)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Preprocessing:
        """Make the one whose ``state_dict()`` this is.

        Raises:
            KeyError: If ``mean`` or ``std`` is missing.
        """
        return cls(mean=state["mean"], std=state["std"], whitening=state.get("whitening"))

    def forward(self, images: Tensor) -> Tensor:
        """Return what a network takes, in the buffers' dtype.

        Args:
            images: Raw, ``(N, C, H, W)``, of any real dtype, in the unit of those that it was fitted to.

        Returns:
            ``(N, C, H, W)``.

        Raises:
            ValueError: If the shape of `images` has not four entries.
        """
        if images.ndim != 4:
            raise ValueError(f"`images` must have shape (N, C, H, W), but got {tuple(images.shape)}.")
        centred = (images.to(self.mean.dtype) - self.mean) / self.std
        if self.whitening is None:
            return centred
        return (centred.flatten(1) @ self.whitening).reshape(centred.shape)


def make_preprocessing(statistics: PixelStatistics, settings: PreprocessingSettings) -> Preprocessing:
    """Build what the settings say from what is known of the train images.

    Args:
        statistics: Of the train images alone, with `codeviations` if ``settings.whitens``.
        settings: Which scheme.

    Returns:
        With buffers in float32, on the CPU.
    """
    unchanged = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    if settings.scheme == "none":
        return Preprocessing(mean=unchanged[0], std=unchanged[1])
    if settings.whitens:
        return Preprocessing(
            mean=statistics.mean_chw.float(), std=unchanged[1], whitening=_whitening_matrix(statistics, settings)
        )
    how, _, over = settings.scheme.partition("_")
    mean, std = {"": statistics.of_all, "channels": statistics.of_channels, "pixels": statistics.of_pixels}[over]()
    if how == "center":
        return Preprocessing(mean=mean.float(), std=unchanged[1])
    _, std_of_all = statistics.of_all()
    std = torch.where(std > _NEGLIGIBLE * std_of_all, std, torch.ones_like(std))
    return Preprocessing(mean=mean.float(), std=std.float())


def _whitening_matrix(statistics: PixelStatistics, settings: PreprocessingSettings) -> Tensor:
    """Return the matrix ``(D, D)`` that whitens centred rows ``(N, D)`` from the right; what is constant becomes 0."""
    variances, directions = _principal_components(statistics)
    padded = variances + settings.whitening_epsilon * variances.mean()
    varies = variances > _NEGLIGIBLE**2 * variances[0]
    scales = torch.where(varies, padded, torch.ones_like(padded)).rsqrt() * varies
    matrix: Tensor = directions * scales
    return (matrix if settings.scheme == "pca_whitening" else matrix @ directions.T).float()


@lru_cache(maxsize=1)
def _principal_components(statistics: PixelStatistics) -> tuple[Tensor, Tensor]:
    """Variances ``(D,)``, the largest first, and directions, the columns of ``(D, D)``; 3072 of them take seconds."""
    assert statistics.codeviations is not None
    covariance = statistics.codeviations / max(statistics.n_images - 1, 1)
    variances, directions = (each.flip(-1) for each in torch.linalg.eigh(covariance))
    # A component's sign is the solver's choice; with this one, the same data always give the same input.
    largest = directions.abs().argmax(dim=0)
    return variances, directions * directions.gather(0, largest[None]).sign()

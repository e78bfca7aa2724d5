"""Normalizations of maps by name."""

from __future__ import annotations

from torch import nn

from lightning_modules.arguments import check_choice

NORMS: tuple[str, ...] = ("batch", "group", "layer", "none")
"""Names of the normalizations."""

CHANNELS_PER_GROUP = 16
"""Of group normalization, where the number of channels allows."""


def make_norm(name: str, n_channels: int) -> list[nn.Module]:
    """Return the layer that normalizes maps ``(N, n_channels, H, W)``: one module, or none at all.

    Each has a scale and a shift for every channel, so that the layer before needs no bias.

    Args:
        name: ``batch`` (each channel over all images of the batch; in evaluation by the running means of training),
            ``group`` (groups of `CHANNELS_PER_GROUP` channels of each image alone), ``layer`` (all channels of each
            image alone) or ``none``. All but ``batch`` do the same in evaluation, and whatever else is in the batch.
        n_channels: >= 1.

    Raises:
        ValueError: If `name` is unknown.

    Source:
        batch: Ioffe and Szegedy 2015 (arXiv 1502.03167). layer: Ba et al. 2016 (arXiv 1607.06450). group: Wu and He
        2018 (arXiv 1803.08494), table 3 for 16 channels a group, section 3 for layer normalization as one group.
    """
    check_choice(name, name="norm", choices=NORMS)
    if name == "none":
        return []
    if name == "batch":
        return [nn.BatchNorm2d(n_channels)]
    return [nn.GroupNorm(_n_groups(n_channels) if name == "group" else 1, n_channels)]


def _n_groups(n_channels: int) -> int:
    """Return the largest number of equal groups that are no smaller than they should be."""
    most = max(1, n_channels // CHANNELS_PER_GROUP)
    return next(n for n in range(most, 0, -1) if n_channels % n == 0)

"""A block of a convolutional network: convolution, normalization, activation, pooling, spatial dropout."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lightning_modules.arguments import check_choice, check_count, check_number
from lightning_modules.networks.activations import ActivationSettings
from lightning_modules.networks.layers import convolution
from lightning_modules.networks.map_sizes import Window
from lightning_modules.networks.normalization import NORMS

POOLINGS: tuple[str, ...] = ("max", "avg", "none")
"""Names of the poolings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSettings:
    """What the blocks of a network have in common.

    Attributes:
        kernel_size: Of the convolution, in pixels, >= 1.
        stride: Likewise, >= 1.
        padding: Likewise, at each edge, >= 0, or None for ``kernel_size // 2``, which no map vanishes with.
        pooling: ``max``, ``avg`` or ``none``.
        pool_size: Side of the pooling's windows, which lie side by side, in pixels, >= 1.
        norm: A name of `lightning_modules.networks.normalization.NORMS`.
        activation: What follows the normalization.
        spatial_dropout: Probability of dropping a whole map at the block's end, in ``[0, 1)``.

    Source:
        Spatial dropout: Tompson et al. 2015, "Efficient Object Localization Using Convolutional Networks" (arXiv
        1411.4280), section 3.2.
    """

    kernel_size: int = 3
    stride: int = 1
    padding: int | None = None
    pooling: str = "max"
    pool_size: int = 2
    norm: str = "batch"
    activation: ActivationSettings
    spatial_dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: If one is out of its bounds.
        """
        check_count(self.kernel_size, name="kernel_size", at_least=1)
        check_count(self.stride, name="stride", at_least=1)
        if self.padding is not None:
            check_count(self.padding, name="padding", at_least=0)
        check_choice(self.pooling, name="pooling", choices=POOLINGS)
        check_count(self.pool_size, name="pool_size", at_least=1)
        check_choice(self.norm, name="norm", choices=NORMS)
        check_number(self.spatial_dropout, name="spatial_dropout", low=0.0, high=1.0, includes_low=True)

    def windows(self, block: int) -> tuple[Window, ...]:
        """Return what slides over the maps of a block; its number, from 1 on, is for errors."""
        conv = Window(
            layer=f"the convolution of block {block}",
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self._n_padded,
        )
        if self.pooling == "none":
            return (conv,)
        # Rounding up, so that pooling leaves a pixel of any map.
        pool = Window(
            layer=f"the pooling of block {block}", kernel_size=self.pool_size, stride=self.pool_size, rounds_up=True
        )
        return (conv, pool)

    def make(self, n_in: int, n_out: int) -> nn.Sequential:
        """Return a block from maps ``(N, n_in, H, W)`` to maps ``(N, n_out, H', W')``."""
        layers = convolution(
            n_in,
            n_out,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self._n_padded,
            norm=self.norm,
            activation=self.activation,
        )
        if self.pooling != "none":
            pool = nn.MaxPool2d if self.pooling == "max" else nn.AvgPool2d
            layers.append(pool(self.pool_size, ceil_mode=True))
        if self.spatial_dropout:
            layers.append(nn.Dropout2d(self.spatial_dropout))
        return nn.Sequential(*layers)

    @property
    def _n_padded(self) -> int:
        return self.kernel_size // 2 if self.padding is None else self.padding

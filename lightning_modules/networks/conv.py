"""Blocks of convolutions, and a small classifier on the means of the last maps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from lightning_modules.arguments import ArgumentError, check_count, check_number
from lightning_modules.networks.conv_block import BlockSettings
from lightning_modules.networks.layers import fully_connected
from lightning_modules.networks.map_sizes import map_sizes

_REMEDY = "larger images, a larger `padding`, a smaller `kernel_size`, `stride` or `pool_size`, or fewer `widths`"


class ConvNetwork(nn.Module):
    """Blocks of convolution, normalization, activation and pooling, then an average over positions and a classifier.

    Images may have any size that leaves a pixel of them; with the default padding every size does.

    Attributes:
        features: From images ``(N, C, H, W)`` to the last block's maps.
        classifier: From their means ``(N, widths[-1])`` to logits.
        activation: Name of the activation function.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        n_classes: int,
        widths: Sequence[int] | str,
        block: BlockSettings,
        hidden_width: int,
        dropout: float,
        drop_connect: float,
        image_size: int | Sequence[int] | None,
    ) -> None:
        """Build the network; the arguments are those of `lightning_modules.ConvNet`.

        Raises:
            ValueError: If an argument is out of its bounds, or the maps of images of `image_size` would vanish.
        """
        super().__init__()
        check_count(in_channels, name="in_channels", at_least=1)
        check_count(n_classes, name="n_classes", at_least=2)
        channels = [in_channels, *_checked_widths(widths)]
        check_count(hidden_width, name="hidden_width", at_least=0)
        check_number(dropout, name="dropout", low=0.0, high=1.0, includes_low=True)
        check_number(drop_connect, name="drop_connect", low=0.0, high=1.0, includes_low=True)
        self._windows = [window for number in range(1, len(channels)) for window in block.windows(number)]
        if image_size is not None:
            map_sizes(_checked_size(image_size), self._windows, remedy=_REMEDY)
        self.activation = block.activation.name
        self.features = nn.Sequential(*(block.make(n_in, n_out) for n_in, n_out in pairwise(channels)))
        layers = fully_connected(
            channels[-1],
            [hidden_width] if hidden_width else [],
            n_classes,
            activation=block.activation,
            dropout=dropout,
            drop_connect=drop_connect,
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), *layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, n_classes)``.

        Raises:
            ValueError: If their maps would vanish.
        """
        map_sizes((images.shape[-2], images.shape[-1]), self._windows, remedy=_REMEDY)
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


def _checked_widths(widths: Sequence[int] | str) -> list[int]:
    """Return the channels of each block; a text such as ``32-64`` is what a choice of a study file can hold."""
    given: Sequence[object] = widths
    if isinstance(widths, str):
        parts = widths.split("-")
        given = [int(part) for part in parts] if all(part.isdecimal() for part in parts) else []
    if not isinstance(given, list | tuple) or not given:
        raise ArgumentError(
            f"`widths` must be a list of at least one integer, or those as a text such as '32-64', but got {widths!r}."
        )
    for width in given:
        check_count(width, name="widths", at_least=1)
    return list(given)


def _checked_size(image_size: int | Sequence[int]) -> tuple[int, int]:
    sides = [image_size, image_size] if isinstance(image_size, int) else image_size
    if not isinstance(sides, list | tuple) or len(sides) != 2:
        raise ArgumentError(f"`image_size` must be an integer or a list [height, width], but got {image_size!r}.")
    for side in sides:
        check_count(side, name="image_size", at_least=1)
    return (sides[0], sides[1])

"""Blocks of convolutions, and a small classifier on the means of the last maps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from lightning_modules.arguments import check_choice, check_count, check_number

NORMS: tuple[str, ...] = ("batch", "none")
"""Names of the normalizations."""


class ConvNetwork(nn.Module):
    """Blocks of convolution, normalization, ReLU and pooling, then an average over positions and a classifier.

    Images may have any size; each block halves it.
    """

    def __init__(
        self, *, in_channels: int, n_classes: int, widths: Sequence[int], hidden_width: int, norm: str, dropout: float
    ) -> None:
        """Build the network; the arguments are those of `lightning_modules.ConvNet`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__()
        check_count(in_channels, name="in_channels", at_least=1)
        check_count(n_classes, name="n_classes", at_least=2)
        if not isinstance(widths, list | tuple) or not widths:
            raise ValueError(f"`widths` must be a list of at least one integer, but got {widths!r}.")
        for width in widths:
            check_count(width, name="widths", at_least=1)
        check_count(hidden_width, name="hidden_width", at_least=0)
        check_choice(norm, name="norm", choices=NORMS)
        check_number(dropout, name="dropout", low=0.0, high=1.0, includes_low=True)
        channels = [in_channels, *widths]
        self.features = nn.Sequential(*(_block(n_in, n_out, norm=norm) for n_in, n_out in pairwise(channels)))
        self.classifier = _classifier(channels[-1], n_classes, hidden_width=hidden_width, dropout=dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, n_classes)``."""
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


def _block(n_in: int, n_out: int, *, norm: str) -> nn.Sequential:
    normalization = [nn.BatchNorm2d(n_out)] if norm == "batch" else []
    return nn.Sequential(
        # Batch normalization has a shift of its own.
        nn.Conv2d(n_in, n_out, kernel_size=3, padding=1, bias=norm == "none"),
        *normalization,
        nn.ReLU(),
        # Rounding up, so that any number of blocks leaves a pixel of any image.
        nn.MaxPool2d(2, ceil_mode=True),
    )


def _classifier(n_in: int, n_classes: int, *, hidden_width: int, dropout: float) -> nn.Sequential:
    if not hidden_width:
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(n_in, n_classes))
    hidden = (nn.Dropout(dropout), nn.Linear(n_in, hidden_width), nn.ReLU())
    return nn.Sequential(*hidden, nn.Dropout(dropout), nn.Linear(hidden_width, n_classes))

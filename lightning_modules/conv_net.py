"""A small convolutional network whose training hyperparameters are all init arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.networks.conv import ConvNetwork


class ConvNet(ImageClassifier):
    """Image classifier: blocks of convolution, normalization, ReLU and pooling, then an average over positions.

    Images may have any size; each block halves it.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        n_classes: int,
        widths: Sequence[int] = (32, 64),
        hidden_width: int = 0,
        norm: str = "batch",
        dropout: float = 0.2,
        **training: Any,
    ) -> None:
        """Build the network and draw its weights from torch's global random generator.

        Args:
            in_channels: Channels of an image, >= 1.
            n_classes: >= 2.
            widths: Channels of each block, at least one, each >= 1.
            hidden_width: Units of a fully connected layer before the logits, or 0 for none.
            norm: ``batch`` (batch normalization after each convolution) or ``none``.
            dropout: Probability of dropping a unit, in ``[0, 1)``, before each fully connected layer.
            training: How it is trained, as for `ImageClassifier`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        network = ConvNetwork(
            in_channels=in_channels,
            n_classes=n_classes,
            widths=widths,
            hidden_width=hidden_width,
            norm=norm,
            dropout=dropout,
        )
        super().__init__(network, **training)

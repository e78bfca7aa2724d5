"""Residual networks as image classifiers."""

from __future__ import annotations

from typing import Any

from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.networks.resnet import ResidualNetwork


class ResNet(ImageClassifier):
    """A residual network (He et al. 2016) for images of any size."""

    def __init__(
        self,
        *,
        in_channels: int,
        n_classes: int,
        depth: int = 20,
        norm: str = "batch",
        activation: str = "relu",
        dropout: float = 0.0,
        **training: Any,
    ) -> None:
        """Build the network and draw its weights from torch's global random generator.

        Args:
            in_channels: Channels of an image, >= 1.
            n_classes: >= 2.
            depth: 20, 32, 44, 56 or 110, the small ones for images such as CIFAR-10's (0.27 to 1.7 million parameters),
                or 18 or 34, the large ones for ImageNet's (11.7 or 21.8 million with 1000 classes).
            norm: What follows each convolution: ``batch``, ``group`` or ``layer`` normalization, or ``none``.
            activation: As of `lightning_modules.ConvNet`, but not ``maxout``.
            dropout: Probability of dropping a unit before the logits, in ``[0, 1)``; none as published.
            training: How it is trained, as for `ImageClassifier`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        network = ResidualNetwork(
            in_channels=in_channels,
            n_classes=n_classes,
            depth=depth,
            norm=norm,
            activation=activation,
            dropout=dropout,
        )
        super().__init__(network, **training)

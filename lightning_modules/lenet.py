"""LeNet-5 as an image classifier."""

from __future__ import annotations

from typing import Any

from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.networks.activations import ActivationSettings
from lightning_modules.networks.lenet import LeNet5


class LeNet(ImageClassifier):
    """LeNet-5 (LeCun et al. 1998), for images of up to 32x32 pixels; smaller ones are padded with zeros.

    61,706 parameters with one channel and 10 classes; see `lightning_modules.networks.lenet` for what they are.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        n_classes: int,
        pooling: str = "avg",
        norm: str = "none",
        activation: str = "tanh",
        maxout_pieces: int = 2,
        dropout: float = 0.0,
        drop_connect: float = 0.0,
        **training: Any,
    ) -> None:
        """Build the network and draw its weights from torch's global random generator.

        Args:
            in_channels: Channels of an image, >= 1.
            n_classes: >= 2.
            pooling: ``avg``, as published, or ``max``.
            norm: What follows each convolution: ``batch``, ``group`` or ``layer`` normalization, or ``none``.
            activation: As of `lightning_modules.ConvNet`; ``tanh`` as published, where it was scaled.
            maxout_pieces: Maps or units that ``maxout`` takes the largest of, >= 2.
            dropout: Probability of dropping a unit of the two hidden fully connected layers, in ``[0, 1)``.
            drop_connect: Probability of dropping a weight of these layers, in ``[0, 1)``.
            training: How it is trained, as for `ImageClassifier`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        network = LeNet5(
            in_channels=in_channels,
            n_classes=n_classes,
            pooling=pooling,
            norm=norm,
            activation=ActivationSettings(name=activation, maxout_pieces=maxout_pieces),
            dropout=dropout,
            drop_connect=drop_connect,
        )
        super().__init__(network, **training)

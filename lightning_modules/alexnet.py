"""AlexNet as an image classifier."""

from __future__ import annotations

from typing import Any

from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.networks.activations import ActivationSettings
from lightning_modules.networks.alexnet import AlexNetwork


class AlexNet(ImageClassifier):
    """AlexNet (Krizhevsky et al. 2012): convolutions with overlapping max pooling, and three fully connected layers.

    Images may have any size that leaves a pixel of them; the last maps are averaged to the size that the fully
    connected layers take, which changes nothing at the size that a variant was made for.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        n_classes: int,
        variant: str = "original",
        norm: str = "none",
        activation: str = "relu",
        maxout_pieces: int = 2,
        dropout: float = 0.5,
        **training: Any,
    ) -> None:
        """Build the network and draw its weights from torch's global random generator.

        Args:
            in_channels: Channels of an image, >= 1.
            n_classes: >= 2.
            variant: ``original``, in two groups as on two GPUs, for 227x227 pixels (60,965,224 parameters with 3
                channels and 1000 classes); ``torchvision``, in one, for 224x224 (61,100,840); ``cifar``, with two
                convolutions, for 28x28 (1,387,786 with 3 channels and 10 classes).
            norm: What follows each convolution: ``batch``, ``group`` or ``layer`` normalization, or ``none``.
            activation: As of `lightning_modules.ConvNet`.
            maxout_pieces: Maps or units that ``maxout`` takes the largest of, >= 2.
            dropout: Probability of dropping a unit of the two hidden fully connected layers, in ``[0, 1)``.
            training: How it is trained, as for `ImageClassifier`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        network = AlexNetwork(
            in_channels=in_channels,
            n_classes=n_classes,
            variant=variant,
            norm=norm,
            activation=ActivationSettings(name=activation, maxout_pieces=maxout_pieces),
            dropout=dropout,
        )
        super().__init__(network, **training)

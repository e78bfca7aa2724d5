"""LeNet-5, the network that read handwritten digits in 1998."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import pad

from lightning_modules.arguments import ArgumentError, check_choice, check_count, check_number
from lightning_modules.networks.activations import ActivationSettings
from lightning_modules.networks.layers import convolution, fully_connected

POOLINGS: tuple[str, ...] = ("avg", "max")
"""Names of the poolings."""

IMAGE_SIZE = 32
"""Side of the images that it was made for, in pixels."""

_LAST_MAP_SIZE = 5


class LeNet5(nn.Module):
    """Two convolutions, each followed by pooling, and three fully connected layers.

    With one channel and 10 classes it has 61,706 parameters: 156 in C1, 2,416 in C3, 48,120 in C5, 10,164 in F6 and 850
    in the output layer. These are the published sizes, but for three things that nobody does any more and that make up
    the published 60,000: there each map of C3 saw a part of S2's only (1,516 parameters), the pooling had a scale and a
    shift for each map (44), and the output layer measured distances to fixed patterns (none).

    Attributes:
        features: From images ``(N, C, H, W)``, padded to 32x32 pixels, to maps ``(N, 16, 5, 5)``.
        classifier: From them, flattened, to logits.
        activation: Name of the activation function.

    Source:
        LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", section II.B.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        n_classes: int,
        pooling: str,
        norm: str,
        activation: ActivationSettings,
        dropout: float,
        drop_connect: float,
    ) -> None:
        """Build the network; the arguments are those of `lightning_modules.LeNet`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__()
        check_count(in_channels, name="in_channels", at_least=1)
        check_count(n_classes, name="n_classes", at_least=2)
        check_choice(pooling, name="pooling", choices=POOLINGS)
        check_number(dropout, name="dropout", low=0.0, high=1.0, includes_low=True)
        check_number(drop_connect, name="drop_connect", low=0.0, high=1.0, includes_low=True)
        pool = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
        self.activation = activation.name
        self.features = nn.Sequential(
            _Padding(),
            *convolution(in_channels, 6, kernel_size=5, norm=norm, activation=activation),
            pool(2),
            *convolution(6, 16, kernel_size=5, norm=norm, activation=activation),
            pool(2),
        )
        layers = fully_connected(
            16 * _LAST_MAP_SIZE**2,
            (120, 84),
            n_classes,
            activation=activation,
            dropout=dropout,
            drop_connect=drop_connect,
        )
        self.classifier = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, n_classes)``.

        Raises:
            ValueError: If they are larger than 32x32 pixels.
        """
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits


class _Padding(nn.Module):
    """Puts smaller images in the middle of 32x32 zeros, as the paper did with those of MNIST."""

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if max(height, width) > IMAGE_SIZE:
            raise ArgumentError(
                f"LeNet takes images of at most {IMAGE_SIZE}x{IMAGE_SIZE} pixels, but got {height}x{width}. Make them "
                "smaller, or take ConvNet or ResNet, which images of any size go through."
            )
        below, right = IMAGE_SIZE - height, IMAGE_SIZE - width
        return pad(images, (right // 2, right - right // 2, below // 2, below - below // 2))

"""A small convolutional network whose architecture and training are all init arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.networks.activations import ActivationSettings
from lightning_modules.networks.conv import ConvNetwork
from lightning_modules.networks.conv_block import BlockSettings


class ConvNet(ImageClassifier):
    """Image classifier: blocks of convolution, normalization, activation and pooling, then an average over positions.

    Images may have any size; by default each block halves it.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        n_classes: int,
        widths: Sequence[int] | str = (32, 64),
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | None = None,
        pooling: str = "max",
        pool_size: int = 2,
        norm: str = "batch",
        activation: str = "relu",
        maxout_pieces: int = 2,
        hidden_width: int = 0,
        dropout: float = 0.2,
        spatial_dropout: float = 0.0,
        drop_connect: float = 0.0,
        image_size: int | Sequence[int] | None = None,
        **training: Any,
    ) -> None:
        """Build the network and draw its weights from torch's global random generator.

        Args:
            in_channels: Channels of an image, >= 1.
            n_classes: >= 2.
            widths: Channels of each block, at least one, each >= 1; or the same as a text such as ``32-64``, which can
                be searched as a choice.
            kernel_size: Side of the convolutions' windows in pixels, >= 1.
            stride: Pixels from one window of a convolution to the next, >= 1.
            padding: Pixels of zeros at each edge of a convolution's maps, >= 0, or None for ``kernel_size // 2``: odd
                kernels then leave the size of maps as it is at a stride of 1, and no map vanishes whatever the image.
            pooling: ``max``, ``avg`` or ``none``, at the end of each block.
            pool_size: Side of the pooling's windows in pixels, >= 1; they lie side by side, the last may stick out.
            norm: What follows each convolution: ``batch``, ``group`` or ``layer`` normalization, or ``none``.
            activation: ``sigmoid``, ``tanh``, ``relu``, ``leaky_relu``, ``elu``, ``gelu``, ``silu`` or ``maxout``.
            maxout_pieces: Maps or units that ``maxout`` takes the largest of, >= 2: as many times more the layers
                before it have.
            hidden_width: Units of a fully connected layer before the logits, or 0 for none.
            dropout: Probability of dropping a unit, in ``[0, 1)``, before each fully connected layer.
            spatial_dropout: Probability of dropping a whole map, in ``[0, 1)``, at the end of each block.
            drop_connect: Probability of dropping a weight, in ``[0, 1)``, of the hidden fully connected layer, or of
                the only one if `hidden_width` is 0.
            image_size: Height and width of the images in pixels, or one number if they are square, to be told at once
                if their maps would vanish; None leaves that to the first batch.
            training: How it is trained, as for `ImageClassifier`.

        Raises:
            ValueError: If an argument is out of its bounds, or maps would vanish.
        """
        block = BlockSettings(
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            pooling=pooling,
            pool_size=pool_size,
            norm=norm,
            activation=ActivationSettings(name=activation, maxout_pieces=maxout_pieces),
            spatial_dropout=spatial_dropout,
        )
        network = ConvNetwork(
            in_channels=in_channels,
            n_classes=n_classes,
            widths=widths,
            block=block,
            hidden_width=hidden_width,
            dropout=dropout,
            drop_connect=drop_connect,
            image_size=image_size,
        )
        super().__init__(network, **training)

"""Residual networks of two-convolution blocks, for small images and for those of ImageNet."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn
from torch.nn.functional import pad

from lightning_modules.arguments import ArgumentError, check_choice, check_count, check_number
from lightning_modules.networks.activations import ELEMENTWISE_ACTIVATIONS, ActivationSettings
from lightning_modules.networks.layers import convolution
from lightning_modules.networks.normalization import make_norm

_SMALL_IMAGE_WIDTHS = (16, 32, 64)
_IMAGENET_WIDTHS = (64, 128, 256, 512)

_N_BLOCKS: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {
        18: (2, 2, 2, 2),
        # 6n + 2 layers: n blocks of two in each of three stages, the first convolution, the last linear layer.
        **{6 * n + 2: (n, n, n) for n in (3, 5, 7, 9, 18)},
        34: (3, 4, 6, 3),
    }
)
"""Blocks of each stage, by depth."""

DEPTHS: tuple[int, ...] = tuple(sorted(_N_BLOCKS))
"""The published depths, in layers with weights."""


class ResidualNetwork(nn.Module):
    """A first convolution, stages of residual blocks, an average over positions, and a linear classifier.

    Depths of 18 and 34 are those of ImageNet, with four stages, a first convolution of 7x7 pixels and pooling; the
    others are those of CIFAR-10, with three narrow stages. Where a stage begins, a shortcut becomes wider: by a
    projection there (option B of the paper), by zeros here (option A).

    Attributes:
        features: From images ``(N, C, H, W)`` to the last stage's maps.
        classifier: From their means to logits.
        activation: Name of the activation function.

    Source:
        He et al. 2016, "Deep Residual Learning for Image Recognition" (arXiv 1512.03385), table 1, sections 3.3, 4.2.
    """

    def __init__(
        self, *, in_channels: int, n_classes: int, depth: int, norm: str, activation: str, dropout: float
    ) -> None:
        """Build the network; the arguments are those of `lightning_modules.ResNet`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__()
        check_count(in_channels, name="in_channels", at_least=1)
        check_count(n_classes, name="n_classes", at_least=2)
        if depth not in _N_BLOCKS:
            raise ArgumentError(f"`depth` must be one of {list(DEPTHS)!r}, but got {depth!r}.")
        # Maxout would leave fewer maps of a sum than the shortcut brings.
        check_choice(activation, name="activation", choices=ELEMENTWISE_ACTIVATIONS)
        check_number(dropout, name="dropout", low=0.0, high=1.0, includes_low=True)
        n_blocks, function = _N_BLOCKS[depth], ActivationSettings(name=activation)
        is_large = len(n_blocks) == len(_IMAGENET_WIDTHS)
        widths = _IMAGENET_WIDTHS if is_large else _SMALL_IMAGE_WIDTHS
        stem = {"kernel_size": 7, "stride": 2, "padding": 3} if is_large else {"kernel_size": 3, "padding": 1}
        layers = convolution(in_channels, widths[0], **stem, norm=norm, activation=function)
        if is_large:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        n_in = widths[0]
        for stage, (width, n) in enumerate(zip(widths, n_blocks, strict=True)):
            for block in range(n):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(
                    _ResidualBlock(n_in, width, stride=stride, norm=norm, activation=function, projects=is_large)
                )
                n_in = width
        self.activation = activation
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(n_in, n_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` of any size to logits ``(N, n_classes)``."""
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


class _ResidualBlock(nn.Module):
    """Two convolutions of 3x3 pixels, to which the block's input is added before the last activation."""

    def __init__(
        self, n_in: int, n_out: int, *, stride: int, norm: str, activation: ActivationSettings, projects: bool
    ) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *convolution(n_in, n_out, kernel_size=3, stride=stride, padding=1, norm=norm, activation=activation),
            nn.Conv2d(n_out, n_out, kernel_size=3, padding=1, bias=norm == "none"),
            *make_norm(norm, n_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if n_in != n_out and projects:
            projection = nn.Conv2d(n_in, n_out, kernel_size=1, stride=stride, bias=norm == "none")
            self.shortcut = nn.Sequential(projection, *make_norm(norm, n_out))
        elif n_in != n_out:
            self.shortcut = _Widening(n_added=n_out - n_in, stride=stride)
        self.activation = activation.make()

    def forward(self, maps: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.residual(maps) + self.shortcut(maps))
        return activated


class _Widening(nn.Module):
    """Every `stride`-th pixel of the maps, and `n_added` maps of zeros behind them; without parameters."""

    def __init__(self, *, n_added: int, stride: int) -> None:
        super().__init__()
        self.n_added = n_added
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        return pad(maps[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.n_added))

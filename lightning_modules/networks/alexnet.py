"""AlexNet, the network that won ImageNet in 2012, in the sizes that are called so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn

from lightning_modules.arguments import check_choice, check_count, check_number
from lightning_modules.networks.activations import ActivationSettings
from lightning_modules.networks.layers import convolution, fully_connected
from lightning_modules.networks.map_sizes import Window, map_sizes

_POOL_SIZE, _POOL_STRIDE = 3, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Conv:
    """A convolution to `width` channels in `groups` that know nothing of each other; overlapping pooling may follow."""

    width: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    pooled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variant:
    """The sizes of all layers; `map_size` is the side in pixels of the maps that the fully connected ones take."""

    convolutions: tuple[_Conv, ...]
    map_size: int
    hidden_widths: tuple[int, ...]
    pooling_rounds_up: bool = False


_VARIANTS: Mapping[str, _Variant] = MappingProxyType(
    {
        "original": _Variant(
            convolutions=(
                _Conv(width=96, kernel_size=11, stride=4, pooled=True),
                _Conv(width=256, kernel_size=5, padding=2, groups=2, pooled=True),
                _Conv(width=384, kernel_size=3, padding=1),
                _Conv(width=384, kernel_size=3, padding=1, groups=2),
                _Conv(width=256, kernel_size=3, padding=1, groups=2, pooled=True),
            ),
            map_size=6,
            hidden_widths=(4096, 4096),
        ),
        "torchvision": _Variant(
            convolutions=(
                _Conv(width=64, kernel_size=11, stride=4, padding=2, pooled=True),
                _Conv(width=192, kernel_size=5, padding=2, pooled=True),
                _Conv(width=384, kernel_size=3, padding=1),
                _Conv(width=256, kernel_size=3, padding=1),
                _Conv(width=256, kernel_size=3, padding=1, pooled=True),
            ),
            map_size=6,
            hidden_widths=(4096, 4096),
        ),
        "cifar": _Variant(
            convolutions=(
                _Conv(width=64, kernel_size=5, padding=2, pooled=True),
                _Conv(width=64, kernel_size=5, padding=2, pooled=True),
            ),
            map_size=7,
            hidden_widths=(384, 192),
            pooling_rounds_up=True,
        ),
    }
)

VARIANTS: tuple[str, ...] = tuple(_VARIANTS)
"""Names of the variants."""


class AlexNetwork(nn.Module):
    """Convolutions, some followed by overlapping max pooling, and three fully connected layers.

    The local response normalization of the papers, which has no parameters, is left out: it was found to change little
    (Simonyan and Zisserman 2015, arXiv 1409.1556, section 4.1).

    Attributes:
        features: From images ``(N, C, H, W)`` to the last maps, averaged to the size that the classifier takes.
        classifier: From them, flattened, to logits.
        activation: Name of the activation function.

    Source:
        original: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section
        3.5. torchvision: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks" (arXiv
        1404.5997), as in ``torchvision.models.alexnet``. cifar: Zhang et al. 2017, "Understanding deep learning
        requires rethinking generalization" (arXiv 1611.03530), appendix A ("small Alexnet").
    """

    def __init__(
        self,
        *,
        in_channels: int,
        n_classes: int,
        variant: str,
        norm: str,
        activation: ActivationSettings,
        dropout: float,
    ) -> None:
        """Build the network; the arguments are those of `lightning_modules.AlexNet`.

        Raises:
            ValueError: If an argument is out of its bounds.
        """
        super().__init__()
        check_count(in_channels, name="in_channels", at_least=1)
        check_count(n_classes, name="n_classes", at_least=2)
        check_choice(variant, name="variant", choices=VARIANTS)
        check_number(dropout, name="dropout", low=0.0, high=1.0, includes_low=True)
        sizes = _VARIANTS[variant]
        self._windows = _windows(sizes)
        self.activation = activation.name
        layers: list[nn.Module] = []
        n_in = in_channels
        for conv in sizes.convolutions:
            layers += convolution(
                n_in,
                conv.width,
                kernel_size=conv.kernel_size,
                stride=conv.stride,
                padding=conv.padding,
                groups=conv.groups,
                norm=norm,
                activation=activation,
            )
            if conv.pooled:
                layers.append(nn.MaxPool2d(_POOL_SIZE, _POOL_STRIDE, ceil_mode=sizes.pooling_rounds_up))
            n_in = conv.width
        self.features = nn.Sequential(*layers, _AveragedTo(sizes.map_size))
        self.classifier = nn.Sequential(
            *fully_connected(
                n_in * sizes.map_size**2, sizes.hidden_widths, n_classes, activation=activation, dropout=dropout
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, n_classes)``.

        Raises:
            ValueError: If their maps would vanish.
        """
        map_sizes((images.shape[-2], images.shape[-1]), self._windows, remedy="larger images or `variant` 'cifar'")
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits


class _AveragedTo(nn.AdaptiveAvgPool2d):
    """Averages maps to a size that they do not have already; torch's own way back is not deterministic on GPUs."""

    def forward(self, maps: Tensor) -> Tensor:
        size = (self.output_size, self.output_size)
        return maps if maps.shape[-2:] == size else super().forward(maps)


def _windows(sizes: _Variant) -> list[Window]:
    windows: list[Window] = []
    for number, conv in enumerate(sizes.convolutions, start=1):
        layer = f"convolution {number}"
        windows.append(
            Window(layer=layer, kernel_size=conv.kernel_size, stride=conv.stride, padding=conv.padding),
        )
        if conv.pooled:
            pool = Window(
                layer=f"the pooling after {layer}",
                kernel_size=_POOL_SIZE,
                stride=_POOL_STRIDE,
                rounds_up=sizes.pooling_rounds_up,
            )
            windows.append(pool)
    return windows

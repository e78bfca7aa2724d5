"""The two sequences of layers that convolutional networks are made of."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lightning_modules.networks.activations import ActivationSettings
from lightning_modules.networks.drop_connect import DropConnectLinear
from lightning_modules.networks.normalization import make_norm


def convolution(
    n_in: int,
    n_out: int,
    *,
    kernel_size: int,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    norm: str,
    activation: ActivationSettings,
) -> list[nn.Module]:
    """Return a convolution, its normalization if it has one, and its activation: ``(N, n_in, H, W)`` to ``n_out`` maps.

    Args:
        n_in: Channels, >= 1.
        n_out: Channels that the activation passes on, >= 1.
        kernel_size: Pixels, >= 1.
        stride: Pixels, >= 1.
        padding: Pixels at each edge, >= 0.
        groups: Parts of the channels that know nothing of each other, a divisor of both numbers of channels.
        norm: A name of `lightning_modules.networks.normalization.NORMS`.
        activation: Maxout's maps are as many times more before it.

    Raises:
        ValueError: If `norm` is unknown.
    """
    n_maps = n_out * activation.n_inputs_per_output
    # A normalization has a shift of its own.
    conv = nn.Conv2d(n_in, n_maps, kernel_size, stride=stride, padding=padding, groups=groups, bias=norm == "none")
    return [conv, *make_norm(norm, n_maps), activation.make()]


def fully_connected(
    n_in: int,
    hidden_widths: Sequence[int],
    n_classes: int,
    *,
    activation: ActivationSettings,
    dropout: float,
    drop_connect: float = 0.0,
) -> list[nn.Module]:
    """Return fully connected layers from ``(N, n_in)`` to logits ``(N, n_classes)``; the last is linear.

    Args:
        n_in: >= 1.
        hidden_widths: Units that each hidden layer passes on, >= 1; maybe none.
        n_classes: >= 2.
        activation: Of the hidden layers.
        dropout: Probability of dropping a hidden unit, in ``[0, 1)``.
        drop_connect: Probability of dropping a weight of a hidden layer, or of the only layer if none is hidden, in
            ``[0, 1)``.
    """
    layers: list[nn.Module] = []
    for width in hidden_widths:
        hidden = _linear(n_in, width * activation.n_inputs_per_output, drop_connect=drop_connect)
        layers += [hidden, activation.make(), nn.Dropout(dropout)]
        n_in = width
    return [*layers, _linear(n_in, n_classes, drop_connect=0.0 if hidden_widths else drop_connect)]


def _linear(n_in: int, n_out: int, *, drop_connect: float) -> nn.Linear:
    return DropConnectLinear(n_in, n_out, p=drop_connect) if drop_connect else nn.Linear(n_in, n_out)

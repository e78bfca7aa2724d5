"""A network made from its class path, with a first layer for the images' channels and a new head for the classes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from lightning_modules.arguments import ArgumentError, check_count
from lightning_modules.class_paths import class_path_of, imported, init_args_of
from lightning_modules.networks.drop_connect import DropConnectLinear

NAME = "backbone"
"""The init argument that names the network."""

_HEAD_NAMES = ("classifier", "fc", "heads", "head")
"""What networks call the part after their features, in this package and in torchvision."""


def make_network(backbone: str | Mapping[str, Any], *, in_channels: int, n_classes: int) -> nn.Module:
    """Build a network, its weights drawn anew, for images of `in_channels` channels and `n_classes` classes.

    The first convolution is replaced if the network was made for another number of channels, and the last linear
    layer, the head, always; the layers before it, hidden ones of the classifier too, belong to the backbone.

    Args:
        backbone: Class path of a network, or of a LightningModule that has one as ``network``, or of a function that
            returns one (``torchvision.models.resnet18``); with arguments as ``{class_path: …, init_args: {…}}``.
            `in_channels` and `n_classes` are filled in where it takes them.
        in_channels: Channels of an image, >= 1.
        n_classes: >= 2.

    Returns:
        A module from images ``(N, in_channels, H, W)`` to logits ``(N, n_classes)``.

    Raises:
        ValueError: If an argument is out of its bounds, or there is no such network, or it is not of that kind.
    """
    check_count(in_channels, name="in_channels", at_least=1)
    check_count(n_classes, name="n_classes", at_least=2)
    class_path, init_args = class_path_of(backbone, name=NAME), init_args_of(backbone, name=NAME)
    make = imported(class_path, name=NAME)
    own = {"in_channels": in_channels, "n_classes": n_classes}
    try:
        taken = {name: value for name, value in own.items() if name in inspect.signature(make).parameters}
        made = make(**(taken | init_args))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"`backbone` {class_path!r} cannot be made with {init_args!r}: {error}") from error
    network = getattr(made, "network", made)
    if not isinstance(network, nn.Module):
        raise ArgumentError(f"`backbone` must lead to a torch module, but {class_path!r} made a {type(made).__name__}.")
    _fit_first_layer(network, in_channels=in_channels)
    _replace_head(network, n_classes=n_classes)
    return network


def head_name(network: nn.Module) -> str:
    """Return the dotted name of the last linear layer of a network's classifier.

    Raises:
        ValueError: If there is none.
    """
    linear: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    of_head = [name for name in linear if name.partition(".")[0] in _HEAD_NAMES]
    if not of_head:
        raise ArgumentError(
            f"`backbone` must be a network with a linear layer in one of {', '.join(_HEAD_NAMES)}, "
            f"but {type(network).__name__} has {', '.join(name for name, _ in network.named_children()) or 'no part'}."
        )
    return of_head[-1]


def first_layer_name(network: nn.Module) -> str:
    """Return the dotted name of the first convolution.

    Raises:
        ValueError: If there is none.
    """
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    if not names:
        raise ArgumentError(f"`backbone` must be a network with a convolution, but {type(network).__name__} has none.")
    return names[0]


def _fit_first_layer(network: nn.Module, *, in_channels: int) -> None:
    name = first_layer_name(network)
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    if layer.in_channels == in_channels:
        return
    if layer.groups != 1:
        raise ArgumentError(
            f"`in_channels` must be {layer.in_channels}, since {name} of {type(network).__name__} is a grouped "
            f"convolution, but got {in_channels}."
        )
    kernel_size, stride, dilation = ((pair[0], pair[1]) for pair in (layer.kernel_size, layer.stride, layer.dilation))
    fitting = nn.Conv2d(
        in_channels,
        layer.out_channels,
        kernel_size,
        stride=stride,
        padding=layer.padding if isinstance(layer.padding, str) else (layer.padding[0], layer.padding[1]),
        dilation=dilation,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
    )
    network.set_submodule(name, fitting)


def _replace_head(network: nn.Module, *, n_classes: int) -> None:
    name = head_name(network)
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    if isinstance(layer, DropConnectLinear):
        network.set_submodule(name, DropConnectLinear(layer.in_features, n_classes, p=layer.p))
    else:
        network.set_submodule(name, nn.Linear(layer.in_features, n_classes))

"""The first layer's filters, which look at the image itself."""

from __future__ import annotations

from torch import Tensor, nn


def first_convolution(module: nn.Module) -> nn.Conv2d | None:
    """Return the first two-dimensional convolution in the order of the module's definition, None if it has none."""
    return next((layer for layer in module.modules() if isinstance(layer, nn.Conv2d)), None)


def first_layer_filters(module: nn.Module) -> Tensor | None:
    """Return the weights of the first convolution, ``(n_filters, n_channels, height, width)``, on the CPU.

    Of a network that has learnt, they are smooth edges and blobs; noise says that it was not trained for long enough,
    or regularized too little.

    Returns:
        A copy in float32, or None for a network without a convolution.

    Source:
        CS231n, "Understanding and Visualizing Convolutional Neural Networks", section "Conv/FC Filters".
    """
    layer = first_convolution(module)
    return None if layer is None else layer.weight.detach().float().cpu().clone()

"""What the layers make of an image."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.module_modes import modes_restored


def feature_maps(module: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return the outputs of the first and of the last convolution for a batch, in evaluation mode.

    A map that is zero for every image is that of a dead unit.

    Args:
        module: Maps `images` to scores; it is left in the mode that it was in, and its state as it was.
        images: ``(N, C, H, W)`` on the module's device.

    Returns:
        By the layer's dotted name, maps ``(N, n_channels, h, w)`` in float32 on the CPU; empty for a network without a
        two-dimensional convolution, one entry if there is a single one.

    Source:
        CS231n, "Understanding and Visualizing Convolutional Neural Networks", section "Layer Activations".
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)}
    if not layers:
        return {}
    names = list(dict.fromkeys([next(iter(layers)), next(reversed(layers))]))
    found: dict[str, Tensor] = {}

    def keep(layer: nn.Module, inputs: Any, output: Tensor, *, name: str) -> None:
        found[name] = output.detach().float().cpu()

    handles = [layers[name].register_forward_hook(partial(keep, name=name)) for name in names]
    try:
        with modes_restored(module), torch.no_grad():
            module.eval()
            module(images)
    finally:
        for handle in handles:
            handle.remove()
    return {name: found[name] for name in names if name in found}

"""How the weights of a network are drawn before training."""

from __future__ import annotations

import math

import torch
from torch import nn

from lightning_modules.arguments import check_choice, check_number

SCHEMES: tuple[str, ...] = ("he", "xavier", "normal")
"""Names of the schemes."""

NORMAL_STD = 0.01
"""Standard deviation of the `normal` scheme at gain 1, whatever the layer's size."""

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def weight_std(weight: torch.Tensor, *, scheme: str, gain: float) -> float:
    """Return the standard deviation that a scheme gives a layer's weights.

    Args:
        weight: Of a linear layer ``(n_out, n_in)`` or a convolution ``(n_out, n_in / groups, *kernel)``.
        scheme: ``he`` (``sqrt(2 / fan_in)``), ``xavier`` (``sqrt(2 / (fan_in + fan_out))``) or ``normal`` (0.01).
        gain: Multiplies it, > 0.

    Raises:
        ValueError: If `scheme` is unknown or `gain` is no number > 0.

    Source:
        he: He et al. 2015, "Delving Deep into Rectifiers" (arXiv 1502.01852), eq. 10. xavier: Glorot and Bengio 2010,
        "Understanding the difficulty of training deep feedforward neural networks", eq. 12. normal: CS231n, "Neural
        Networks Part 2: Setting up the Data and the Loss", section "Weight Initialization" (small random numbers).
    """
    check_choice(scheme, name="scheme", choices=SCHEMES)
    check_number(gain, name="gain", low=0.0, includes_low=False)
    if scheme == "normal":
        return gain * NORMAL_STD
    n_positions = weight[0, 0].numel()
    fan_in, fan_out = weight.shape[1] * n_positions, weight.shape[0] * n_positions
    return gain * math.sqrt(2.0 / (fan_in if scheme == "he" else fan_in + fan_out))


def initialize(module: nn.Module, *, scheme: str, gain: float = 1.0, generator: torch.Generator | None = None) -> None:
    """Draw the weights of every linear and convolutional layer anew, from a normal distribution around 0; zero biases.

    Other layers (normalization, embeddings) keep what their own constructors gave them.

    Args:
        module: Changed in place, its submodules included.
        scheme: ``he``, ``xavier`` or ``normal``; see `weight_std`.
        gain: Multiplies the scheme's standard deviation, > 0.
        generator: Source of randomness on the weights' device, or None for torch's global one.

    Raises:
        ValueError: If `scheme` is unknown or `gain` is no number > 0.
    """
    check_choice(scheme, name="scheme", choices=SCHEMES)
    check_number(gain, name="gain", low=0.0, includes_low=False)
    for layer in module.modules():
        if not isinstance(layer, _WEIGHTED):
            continue
        nn.init.normal_(layer.weight, std=weight_std(layer.weight, scheme=scheme, gain=gain), generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

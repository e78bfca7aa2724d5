"""How the weights of a network are drawn before training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lightning_modules.arguments import check_choice, check_number
from lightning_modules.training.activation_gain import DEFAULT_ACTIVATION, squared_gain

SCHEMES: tuple[str, ...] = ("he", "xavier", "normal", "lecun", "orthogonal", "zeros")
"""Names of the schemes."""

DISTRIBUTIONS: tuple[str, ...] = ("normal", "uniform")
"""Names of the distributions that `he`, `xavier` and `lecun` draw from."""

FAN_MODES: tuple[str, ...] = ("fan_in", "fan_out")
"""Names of the numbers of connections that `he` and `lecun` go by."""

NORMAL_STD = 0.01
"""Standard deviation of the `normal` scheme at gain 1, whatever the layer's size."""

_BOTH_DISTRIBUTIONS = ("he", "xavier", "lecun")
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def weight_std(
    weight: Tensor,
    *,
    scheme: str,
    gain: float = 1.0,
    fan_mode: str = "fan_in",
    activation: str = DEFAULT_ACTIVATION,
    maxout_pieces: int = 2,
) -> float:
    """Return the standard deviation that a scheme gives a layer's weights; of `orthogonal`, their root mean square.

    With ``a`` the squared gain of the activation (2 for ReLU), ``n`` the connections of a unit and ``g`` the gain:

    ============  ==============================================  =======================================
    scheme        standard deviation                              the activation
    ============  ==============================================  =======================================
    zeros         0
    normal        ``g * 0.01``                                    does not count
    lecun         ``g * sqrt(1 / n)``                             does not count
    he            ``g * sqrt(a / n)``                             He's own factor 2 is ReLU's ``a``
    xavier        ``g * sqrt(a * 2 / (fan_in + fan_out))``        its 2 makes a mean of the two fans
    orthogonal    ``g * sqrt(a / max(rows, columns))``            rows or columns are orthogonal
    ============  ==============================================  =======================================

    Args:
        weight: Of a linear layer ``(n_out, n_in)`` or a convolution ``(n_out, n_in / groups, *kernel)``; for
            `orthogonal` a matrix of n_out rows.
        scheme: One of `SCHEMES`.
        gain: Multiplies it, > 0; 1 is what the scheme and the activation ask for.
        fan_mode: Of `he` and `lecun`: ``fan_in`` keeps the size of the signals on their way forward, ``fan_out`` that
            of the gradients on their way back.
        activation: Stands between the layers; one of `activation_gain.ACTIVATIONS`.
        maxout_pieces: Of the activation ``maxout``, >= 2.

    Raises:
        ValueError: If an argument is out of its bounds.

    Source:
        he: He et al. 2015, "Delving Deep into Rectifiers" (arXiv 1502.01852), eq. 10 (fan_in) and 14 (fan_out). xavier:
        Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 12.
        lecun: LeCun et al. 1998, "Efficient BackProp", eq. 16; CS231n, "Neural Networks Part 2: Setting up the Data and
        the Loss", section "Weight Initialization", calls it calibrating the variances with 1/sqrt(n), and its lecture
        slides "Xavier". normal: there, "small random numbers". orthogonal: Saxe et al. 2014, "Exact solutions to the
        nonlinear dynamics of learning in deep linear neural networks" (arXiv 1312.6120).
    """
    _check(scheme=scheme, gain=gain, fan_mode=fan_mode)
    factor = squared_gain(activation, maxout_pieces=maxout_pieces)
    if scheme == "zeros":
        return 0.0
    if scheme == "normal":
        return gain * NORMAL_STD
    n_positions = weight[0, 0].numel()
    fan_in, fan_out = weight.shape[1] * n_positions, weight.shape[0] * n_positions
    if scheme == "xavier":
        return gain * math.sqrt(factor * 2.0 / (fan_in + fan_out))
    if scheme == "orthogonal":
        return gain * math.sqrt(factor / max(weight.shape[0], fan_in))
    fan = fan_in if fan_mode == "fan_in" else fan_out
    return gain * math.sqrt((factor if scheme == "he" else 1.0) / fan)


def initialize(
    module: nn.Module,
    *,
    scheme: str,
    gain: float = 1.0,
    distribution: str = "normal",
    fan_mode: str = "fan_in",
    activation: str = DEFAULT_ACTIVATION,
    maxout_pieces: int = 2,
    generator: torch.Generator | None = None,
) -> None:
    """Draw the weights of every linear and convolutional layer anew, with mean 0, and make the biases zero.

    Other layers (normalization, embeddings) keep what their own constructors gave them.

    Args:
        module: Changed in place, its submodules included.
        scheme: One of `SCHEMES`; see `weight_std`. From ``zeros`` a network of hidden layers cannot learn: their units
            stay alike.
        gain: Multiplies the scheme's standard deviation, > 0.
        distribution: What `he`, `xavier` and `lecun` draw from, with the same standard deviation: ``normal``, or
            ``uniform`` between plus and minus sqrt(3) of it. The other schemes have one of their own.
        fan_mode: ``fan_in`` or ``fan_out``, of `he` and `lecun`.
        activation: Stands between the layers; one of `activation_gain.ACTIVATIONS`.
        maxout_pieces: Of the activation ``maxout``, >= 2.
        generator: Source of randomness on the weights' device, or None for torch's global one.

    Raises:
        ValueError: If an argument is out of its bounds; nothing is changed then.
    """
    _check(scheme=scheme, gain=gain, fan_mode=fan_mode)
    check_choice(distribution, name="init_distribution", choices=DISTRIBUTIONS)
    factor = squared_gain(activation, maxout_pieces=maxout_pieces)
    for layer in module.modules():
        if not isinstance(layer, _WEIGHTED):
            continue
        if scheme == "orthogonal":
            nn.init.orthogonal_(layer.weight, gain=gain * math.sqrt(factor), generator=generator)
        else:
            std = weight_std(
                layer.weight,
                scheme=scheme,
                gain=gain,
                fan_mode=fan_mode,
                activation=activation,
                maxout_pieces=maxout_pieces,
            )
            is_uniform = distribution == "uniform" and scheme in _BOTH_DISTRIBUTIONS
            _draw(layer.weight, std=std, is_uniform=is_uniform, generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _draw(weight: Tensor, *, std: float, is_uniform: bool, generator: torch.Generator | None) -> None:
    if std == 0.0:
        nn.init.zeros_(weight)
    elif is_uniform:
        bound = math.sqrt(3.0) * std
        nn.init.uniform_(weight, -bound, bound, generator=generator)
    else:
        nn.init.normal_(weight, std=std, generator=generator)


def _check(*, scheme: str, gain: float, fan_mode: str) -> None:
    check_choice(scheme, name="init_scheme", choices=SCHEMES)
    check_number(gain, name="init_gain", low=0.0, includes_low=False)
    check_choice(fan_mode, name="init_fan_mode", choices=FAN_MODES)

"""By how much weights must be larger for what an activation takes away of the signal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from torch import nn

from lightning_modules.arguments import check_choice
from lightning_modules.networks.activations import Maxout

_LEAKY_SLOPE = 0.01
"""Of torch's leaky ReLU, for negative inputs."""


MAXOUT = "maxout"
"""Name of the activation whose gain depends on its number of pieces."""

_HALF_WIDTH, _N_POINTS = 12.0, 2401
"""Of the numerical integration over a normal variable; the sum is exact to rounding, since all ends vanish."""


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


# As squares, in which ReLU's is exactly 2. The first six are those of `torch.nn.init.calculate_gain`; of the others it
# has none, and these keep the mean square of a normal signal, as ReLU's does: 1 / E[f(z)²] for z ~ N(0, 1).
_SQUARED_GAINS: Mapping[str, float] = MappingProxyType(
    {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": (5.0 / 3.0) ** 2,
        "relu": 2.0,
        "leaky_relu": 2.0 / (1.0 + _LEAKY_SLOPE**2),
        "selu": (3.0 / 4.0) ** 2,
        "elu": 1.0 / (1.0 + math.exp(2.0) * _normal_cdf(-2.0) - 2.0 * math.exp(0.5) * _normal_cdf(-1.0)),
        "gelu": 1.0 / (1.0 / 3.0 + 1.0 / (2.0 * math.sqrt(3.0) * math.pi)),
        "silu": 1.0 / 0.3557755,  # by numerical integration
        MAXOUT: 1.0,  # of two pieces
    }
)

ACTIVATIONS: tuple[str, ...] = tuple(_SQUARED_GAINS)
"""Names of the activations that have a gain."""

DEFAULT_ACTIVATION = "relu"
"""What a network is taken to have that does not say."""


def squared_gain(activation: str, *, maxout_pieces: int = 2) -> float:
    """Return the factor for the variance of the weights of layers between which this activation stands.

    Args:
        activation: One of `ACTIVATIONS`, named as in `torch.nn.functional`.
        maxout_pieces: Of ``maxout``, >= 2; others ignore it.

    Raises:
        ValueError: If it is none of them.

    Source:
        relu: He et al. 2015, "Delving Deep into Rectifiers" (arXiv 1502.01852), section 2.2, whose argument gives
        those of elu, gelu, silu and maxout too. linear, sigmoid, tanh, leaky_relu, selu: the documentation of
        `torch.nn.init.calculate_gain`.
    """
    check_choice(activation, name="activation", choices=ACTIVATIONS)
    return _squared_gain_of_maxout(maxout_pieces) if activation == MAXOUT else _SQUARED_GAINS[activation]


@cache
def _squared_gain_of_maxout(n_pieces: int) -> float:
    """Return 1 / E[max(z_1, …, z_n)²] for independent normal z_i: their maximum has the density n φ(z) Φ(z)^(n - 1)."""
    if n_pieces == 2:
        return _SQUARED_GAINS[MAXOUT]
    step = 2.0 * _HALF_WIDTH / (_N_POINTS - 1)
    mean_square = 0.0
    for index in range(_N_POINTS):
        z = index * step - _HALF_WIDTH
        density = math.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
        mean_square += step * z**2 * n_pieces * density * _normal_cdf(z) ** (n_pieces - 1)
    return 1.0 / mean_square


def maxout_pieces_of(network: nn.Module) -> int:
    """Return how many pieces a network's `Maxout` layers have, or 2 if it has none."""
    return next((layer.n_pieces for layer in network.modules() if isinstance(layer, Maxout)), 2)


def activation_of(network: nn.Module) -> str:
    """Return the name that a network's attribute `activation` gives, or ``relu`` if it has none or it is no name."""
    name = getattr(network, "activation", DEFAULT_ACTIVATION)
    return name if isinstance(name, str) else DEFAULT_ACTIVATION

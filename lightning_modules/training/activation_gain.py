"""By how much weights must be larger for what an activation takes away of the signal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

from lightning_modules.arguments import check_choice

_LEAKY_SLOPE = 0.01
"""Of torch's leaky ReLU, for negative inputs."""


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
        "maxout": 1.0,  # of two pieces
    }
)

ACTIVATIONS: tuple[str, ...] = tuple(_SQUARED_GAINS)
"""Names of the activations that have a gain."""

DEFAULT_ACTIVATION = "relu"
"""What a network is taken to have that does not say."""


def squared_gain(activation: str) -> float:
    """Return the factor for the variance of the weights of layers between which this activation stands.

    Args:
        activation: One of `ACTIVATIONS`, named as in `torch.nn.functional`; ``maxout`` is that of two pieces.

    Raises:
        ValueError: If it is none of them.

    Source:
        relu: He et al. 2015, "Delving Deep into Rectifiers" (arXiv 1502.01852), section 2.2, whose argument gives
        those of elu, gelu, silu and maxout too. linear, sigmoid, tanh, leaky_relu, selu: the documentation of
        `torch.nn.init.calculate_gain`.
    """
    check_choice(activation, name="activation", choices=ACTIVATIONS)
    return _SQUARED_GAINS[activation]


def activation_of(network: nn.Module) -> str:
    """Return the name that a network's attribute `activation` gives, or ``relu`` if it has none or it is no name."""
    name = getattr(network, "activation", DEFAULT_ACTIVATION)
    return name if isinstance(name, str) else DEFAULT_ACTIVATION

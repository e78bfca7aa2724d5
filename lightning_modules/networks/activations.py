"""Activation functions by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn

from lightning_modules.arguments import check_choice, check_count

_ELEMENTWISE: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "relu": nn.ReLU,
        "leaky_relu": nn.LeakyReLU,
        "elu": nn.ELU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
    }
)

ELEMENTWISE_ACTIVATIONS: tuple[str, ...] = tuple(_ELEMENTWISE)
"""Names of those that leave the number of maps and units as it is."""

ACTIVATIONS: tuple[str, ...] = (*ELEMENTWISE_ACTIVATIONS, "maxout")
"""Names of all of them."""


class Maxout(nn.Module):
    """The largest of `n_pieces` linear functions of the layer before: of as many neighbouring channels or units.

    Source:
        Goodfellow et al. 2013, "Maxout Networks" (arXiv 1302.4389), section 3.
    """

    def __init__(self, *, n_pieces: int) -> None:
        """Take the maximum of every `n_pieces` channels, >= 2."""
        super().__init__()
        self.n_pieces = n_pieces

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(N, n_pieces * C, *)`` to ``(N, C, *)``."""
        n, width, *positions = inputs.shape
        return inputs.view(n, width // self.n_pieces, self.n_pieces, *positions).amax(dim=2)

    def extra_repr(self) -> str:
        """Return what stands between the brackets where the module is printed."""
        return f"n_pieces={self.n_pieces}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationSettings:
    """An activation function.

    Attributes:
        name: ``sigmoid``, ``tanh``, ``relu``, ``leaky_relu`` (slope 0.01 below 0), ``elu`` (alpha 1), ``gelu``,
            ``silu`` or ``maxout``.
        maxout_pieces: Linear functions that each unit of ``maxout`` is the largest of, >= 2; others ignore it.

    Source:
        sigmoid, tanh, relu, leaky_relu, maxout: CS231n, "Neural Networks Part 1", section "Commonly used activation
        functions". elu: Clevert et al. 2016 (arXiv 1511.07289). gelu: Hendrycks and Gimpel 2016 (arXiv 1606.08415).
        silu: ibid.; Ramachandran et al. 2017, "Searching for Activation Functions" (arXiv 1710.05941), as Swish.
    """

    name: str = "relu"
    maxout_pieces: int = 2

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: If one is out of its bounds.
        """
        check_choice(self.name, name="activation", choices=ACTIVATIONS)
        check_count(self.maxout_pieces, name="maxout_pieces", at_least=2)

    @property
    def n_inputs_per_output(self) -> int:
        """How many times more channels or units than it passes on the layer before must have."""
        return self.maxout_pieces if self.name == "maxout" else 1

    def make(self) -> nn.Module:
        """Return a module from ``(N, n_inputs_per_output * C, *)`` to ``(N, C, *)``."""
        return Maxout(n_pieces=self.maxout_pieces) if self.name == "maxout" else _ELEMENTWISE[self.name]()

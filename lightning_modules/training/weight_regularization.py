"""Keep weights small: penalties on their size, and a bound on the weights that enter a unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_modules.arguments import check_number

_NORMALIZATIONS = (nn.LayerNorm, nn.RMSNorm)
"""Those whose scales may have several dimensions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRegularization:
    """How the weights of linear and convolutional layers are kept small; biases and norms are left alone.

    Attributes:
        l1_penalty: Coefficient, >= 0, of the sum of the weights' absolute values in the loss.
        l2_penalty: Coefficient, >= 0, of half the sum of their squares. Its gradient goes through the optimizer like
            that of the loss (*coupled*): SGD does the same with a `weight_decay` of that value, while Adam divides it
            by the size of the gradients. AdamW's weight decay is *decoupled*: it passes that division by.
        max_norm: Largest length of the vector of weights that enter a unit (of a convolution: a filter), > 0, enforced
            after every optimizer step; 0 for no bound.

    Source:
        CS231n, "Neural Networks Part 2: Setting up the Data and the Loss", section "Regularization" (there max-norm is
        3 or 4). max_norm: Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        section 5.1. Coupled and decoupled: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization" (arXiv
        1711.05101).
    """

    l1_penalty: float = 0.0
    l2_penalty: float = 0.0
    max_norm: float = 0.0

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: If one is out of its bounds.
        """
        for name in ("l1_penalty", "l2_penalty", "max_norm"):
            check_number(getattr(self, name), name=name, low=0.0, includes_low=True)

    @property
    def penalizes(self) -> bool:
        """Whether the loss has a penalty."""
        return self.l1_penalty > 0.0 or self.l2_penalty > 0.0


def weight_penalty(module: nn.Module, settings: WeightRegularization) -> Tensor | float:
    """Return what the penalties add to the loss, a scalar with a gradient; 0.0 without penalties.

    Args:
        module: Its weights are penalized; see `regularized_weights`.
        settings: The coefficients.
    """
    penalty: Tensor | float = 0.0
    for weight in regularized_weights(module):
        if settings.l1_penalty:
            penalty = penalty + settings.l1_penalty * weight.abs().sum()
        if settings.l2_penalty:
            penalty = penalty + 0.5 * settings.l2_penalty * weight.square().sum()
    return penalty


def bound_after_steps(optimizer: Optimizer, module: nn.Module, *, max_norm: float) -> None:
    """Have an optimizer call `limit_weight_norms` after each of its steps, for the weights that the step moved.

    Those without a gradient are frozen for the time being, and may be longer.

    Args:
        optimizer: Moves the weights.
        module: Its weights are bounded; see `regularized_weights`.
        max_norm: > 0.
    """

    def limit(*_: Any) -> None:
        limit_weight_norms([each for each in regularized_weights(module) if each.grad is not None], max_norm=max_norm)

    optimizer.register_step_post_hook(limit)


@torch.no_grad()
def limit_weight_norms(weights: Iterable[Tensor], *, max_norm: float) -> None:
    """Scale the weights that enter a unit down to a length of `max_norm`, where they are longer; in place.

    Args:
        weights: Each ``(n_units, *)``.
        max_norm: > 0. Units within the bound keep their weights, bit by bit.
    """
    for weight in weights:
        weight.renorm_(p=2, dim=0, maxnorm=max_norm)


def regularized_weights(module: nn.Module) -> Iterator[Tensor]:
    """Yield the trainable weights of linear and convolutional layers, each once.

    They are the parameters with two dimensions or more, the first of which counts the units, but for the scales and
    shifts of normalization layers.
    """
    seen: set[int] = set()
    for layer in module.modules():
        if isinstance(layer, _NORMALIZATIONS):
            continue
        for parameter in layer.parameters(recurse=False):
            if parameter.requires_grad and parameter.ndim >= 2 and id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter

"""Optimizers by name, with weight decay where it belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightning_modules.arguments import check_choice, check_number

OPTIMIZERS: tuple[str, ...] = ("sgd", "nesterov", "adamw")
"""Names of the optimizers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """An optimizer's name and hyperparameters; what an optimizer does not know, it ignores.

    Attributes:
        name: ``sgd`` (with plain momentum), ``nesterov`` (SGD with Nesterov momentum) or ``adamw``.
        learning_rate: Initial learning rate, > 0.
        weight_decay: Coefficient, >= 0, applied to weights only (see `parameter_groups`): added to the gradient as an
            L2 penalty by SGD, decoupled from it (and scaled by the learning rate) by AdamW.
        momentum: Of `sgd` and `nesterov`, in ``[0, 1)``.

    Source:
        nesterov: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning". adamw:
        Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization" (arXiv 1711.05101).
    """

    name: str
    learning_rate: float
    weight_decay: float = 0.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: If one is out of its bounds.
        """
        check_choice(self.name, name="optimizer", choices=OPTIMIZERS)
        check_number(self.learning_rate, name="learning_rate", low=0.0, includes_low=False)
        check_number(self.weight_decay, name="weight_decay", low=0.0, includes_low=True)
        check_number(self.momentum, name="momentum", low=0.0, high=1.0, includes_low=True)


def parameter_groups(module: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trainable parameters into those that decay and those that do not.

    Biases and the scales and shifts of normalization layers, that is all parameters with fewer than two dimensions, do
    not decay: pulling them to zero does not make the function simpler.

    Args:
        module: Its parameters with ``requires_grad`` are taken, each once.
        weight_decay: Coefficient for the weights, >= 0.

    Returns:
        One or two groups for a torch optimizer; a group without parameters is left out.

    Source:
        He et al. 2019, "Bag of Tricks for Image Classification with Convolutional Neural Networks" (arXiv 1812.01187),
        section 3.1, "No bias decay".
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trainable if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trainable if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(groups: list[dict[str, Any]], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Build an optimizer.

    Args:
        groups: Parameters with options of their own, as from `parameter_groups`.
        settings: What else holds for all of them.

    Raises:
        ValueError: If there is no parameter.
    """
    if not groups:
        raise ValueError("There must be a trainable parameter, but the optimizer got none.")
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate)
    # Without momentum the two kinds are one, and torch refuses to be asked for Nesterov's.
    nesterov = settings.name == "nesterov" and settings.momentum > 0.0
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=nesterov)

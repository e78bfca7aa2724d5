"""Optimizers by name, with weight decay where it belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightning_modules.arguments import ArgumentError, check_choice, check_count, check_number
from lightning_modules.training.full_batch_lbfgs import FullBatchLBFGS
from lightning_modules.training.weight_regularization import regularized_weights

OPTIMIZERS: tuple[str, ...] = ("sgd", "nesterov", "adamw", "adam", "rmsprop", "adagrad", "lbfgs")
"""Names of the optimizers."""

_WITH_MOMENTUM = ("sgd", "nesterov")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """An optimizer's name and hyperparameters; what an optimizer does not know, it ignores.

    Attributes:
        name: ``sgd`` (with plain momentum; without any at `momentum` 0), ``nesterov`` (SGD with Nesterov momentum),
            ``adagrad``, ``rmsprop``, ``adam``, ``adamw`` or ``lbfgs`` (see `FullBatchLBFGS`).
        learning_rate: Initial learning rate, > 0; of `lbfgs` the first step size that each line search tries.
        weight_decay: Coefficient, >= 0, applied to weights only (see `parameter_groups`): the gradient of an L2 penalty
            that is added to the loss's, but for AdamW, where it is decoupled from it and scaled by the learning rate.
        momentum: Of `sgd` and `nesterov`, in ``[0, 1)``.
        final_momentum: Of `sgd` and `nesterov`, in ``[0, 1)``: what momentum ends with (see `annealed_momentum`), or
            None if it stays.
        beta1: Of `adam` and `adamw`: how much of the mean gradient a step keeps, in ``[0, 1)``.
        beta2: Likewise of the mean squared gradient.
        rms_decay: Of `rmsprop`: how much of the mean squared gradient a step keeps, in ``[0, 1)``.
        epsilon: Of `adagrad`, `rmsprop`, `adam` and `adamw`: added to what the gradient is divided by, > 0.
        lbfgs_max_iter: Of `lbfgs`: iterations of a step, that is of an epoch, >= 1.
        lbfgs_history_size: Of `lbfgs`: past iterations that curvature is estimated from, >= 1.

    Source:
        sgd, momentum, adagrad, rmsprop (there ``decay_rate``), annealing of the momentum: CS231n, "Neural Networks Part
        3: Learning and Evaluation", section "Parameter updates". nesterov: Sutskever et al. 2013, "On the importance
        of initialization and momentum in deep learning". adagrad: Duchi et al. 2011, "Adaptive Subgradient Methods for
        Online Learning and Stochastic Optimization". adam: Kingma and Ba 2015, "Adam: A Method for Stochastic
        Optimization" (arXiv 1412.6980), algorithm 1. adamw: Loshchilov and Hutter 2019, "Decoupled Weight Decay
        Regularization" (arXiv 1711.05101).
    """

    name: str
    learning_rate: float
    weight_decay: float = 0.0
    momentum: float = 0.9
    final_momentum: float | None = None
    beta1: float = 0.9
    beta2: float = 0.999
    rms_decay: float = 0.99
    epsilon: float = 1e-8
    lbfgs_max_iter: int = 20
    lbfgs_history_size: int = 10

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: If one is out of its bounds.
        """
        check_choice(self.name, name="optimizer", choices=OPTIMIZERS)
        check_number(self.learning_rate, name="learning_rate", low=0.0, includes_low=False)
        check_number(self.weight_decay, name="weight_decay", low=0.0, includes_low=True)
        for name in ("momentum", "beta1", "beta2", "rms_decay"):
            check_number(getattr(self, name), name=name, low=0.0, high=1.0, includes_low=True)
        if self.final_momentum is not None:
            check_number(self.final_momentum, name="final_momentum", low=0.0, high=1.0, includes_low=True)
        check_number(self.epsilon, name="epsilon", low=0.0, includes_low=False)
        check_count(self.lbfgs_max_iter, name="lbfgs_max_iter", at_least=1)
        check_count(self.lbfgs_history_size, name="lbfgs_history_size", at_least=1)

    @property
    def anneals_momentum(self) -> bool:
        """Whether the momentum changes over the training."""
        return self.name in _WITH_MOMENTUM and self.final_momentum not in (None, self.momentum)


def parameter_groups(module: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trainable parameters into those that decay and those that do not.

    Biases and the scales and shifts of normalization layers do not decay: pulling them to zero does not make the
    function simpler. Those that do are `regularized_weights`.

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
    weights = {id(weight) for weight in regularized_weights(module)}
    groups = [
        {"params": [parameter for parameter in trainable if id(parameter) in weights], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trainable if id(parameter) not in weights], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(groups: list[dict[str, Any]], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Build an optimizer.

    Args:
        groups: Parameters with options of their own, as from `parameter_groups`.
        settings: What else holds for all of them.

    Raises:
        ValueError: If there is no parameter, or if groups for `lbfgs` differ in more than their weight decay.
    """
    if not groups:
        raise ArgumentError("There must be a trainable parameter, but the optimizer got none.")
    learning_rate, epsilon = settings.learning_rate, settings.epsilon
    match settings.name:
        case "adagrad":
            return torch.optim.Adagrad(groups, lr=learning_rate, eps=epsilon)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=learning_rate, alpha=settings.rms_decay, eps=epsilon)
        case "adam":
            return torch.optim.Adam(groups, lr=learning_rate, betas=(settings.beta1, settings.beta2), eps=epsilon)
        case "adamw":
            return torch.optim.AdamW(groups, lr=learning_rate, betas=(settings.beta1, settings.beta2), eps=epsilon)
        case "lbfgs":
            return FullBatchLBFGS(
                groups,
                learning_rate=learning_rate,
                max_iter=settings.lbfgs_max_iter,
                history_size=settings.lbfgs_history_size,
            )
        case _:
            # Without momentum the two kinds are one, and torch refuses to be asked for Nesterov's.
            highest = max(settings.momentum, settings.final_momentum or 0.0)
            nesterov = settings.name == "nesterov" and highest > 0.0
            sgd = torch.optim.SGD(groups, lr=learning_rate, momentum=highest, nesterov=nesterov)
            for group in sgd.param_groups:
                group["momentum"] = settings.momentum
            return sgd


def annealed_momentum(progress: float, settings: OptimizerSettings) -> float:
    """Return the momentum at some point of a training: ``1 - momentum`` changes by equal factors in equal times.

    So does the number of steps, ``1 / (1 - momentum)``, that the velocity is a mean over; a straight line from 0.5 to
    0.99 would spend four fifths of the training below ten of them.

    Args:
        progress: Share of the training that is done, >= 0; from 1 on the momentum stays.
        settings: Those of an optimizer that anneals its momentum.

    Raises:
        ValueError: If `progress` is out of its bounds.
    """
    check_number(progress, name="progress", low=0.0, includes_low=True)
    first = settings.momentum
    last = first if settings.final_momentum is None else settings.final_momentum
    if progress == 0.0 or progress >= 1.0:
        return last if progress else first
    return float(1.0 - (1.0 - first) ** (1.0 - progress) * (1.0 - last) ** progress)

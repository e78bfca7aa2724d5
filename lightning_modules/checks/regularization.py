"""Does a regularization strength do anything: raise the loss, or reach the optimizer?"""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import torch
from pytorch_lightning import LightningModule

from lightning_modules.checks.finding import CannotBeCheckedError, Finding, Verdict
from lightning_modules.checks.training_step import own_optimizer, training_loss

STRENGTH = 0.1
"""Strength that is compared with none: far more than anybody wants, so that it is seen."""

_NAME = re.compile(r"(^|_)(weight_decay|l1|l2)(_|$)")


def regularization_arguments(cls: type) -> list[str]:
    """Return the init arguments of a class that are strengths of weight decay, L1 or L2, by their names."""
    return [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if _NAME.search(name)
        and isinstance(parameter.default, int | float | type(parameter.empty))
        and not isinstance(parameter.default, bool)
    ]


def regularization(without: LightningModule, strong: LightningModule, batch: Any, *, argument: str) -> Finding:
    """Compare the first loss without and with a strong regularization, from the same weights.

    Args:
        without: Made with a strength of 0.
        strong: Made with `STRENGTH` and the same seed.
        batch: On their device.
        argument: Name of the strength.

    Raises:
        CannotBeCheckedError: If a loss is not finite.

    Source:
        CS231n, "Neural Networks Part 3: Learning and Evaluation", section "Before learning: sanity checks Tips/Tricks"
        ("increasing the regularization strength should increase the loss").
    """
    losses = []
    for module in (without, strong):
        module.eval()
        with torch.no_grad():
            losses.append(float(training_loss(module, batch)))
    if not all(map(math.isfinite, losses)):
        raise CannotBeCheckedError(f"the losses are {losses[0]:g} and {losses[1]:g}")
    change = losses[1] - losses[0]
    decays = (0.0, 0.0)
    if change == 0.0:
        decays = _largest_decay(without), _largest_decay(strong)
    verdict, advice = Verdict.OK, ""
    seen = f"{argument} {STRENGTH:g} changes the first loss from {losses[0]:.3g} to {losses[1]:.3g}"
    if change < 0.0:
        verdict, advice = Verdict.FAILED, "the sign of the term: it rewards large weights"
    elif change == 0.0 and decays[1] > decays[0]:
        seen = f"{argument} is not in the loss; it is the optimizer's weight_decay"
    elif change == 0.0:
        verdict, advice = (
            Verdict.WARNING,
            f"{argument} seems to be without effect: hand it on, or search something else",
        )
        seen = f"{argument} {STRENGTH:g} changes neither the first loss nor the optimizer's weight_decay"
    return Finding(
        check=f"regularization ({argument})",
        verdict=verdict,
        seen=seen,
        healthy="it raises the loss, or is the optimizer's",
        advice=advice,
        figures={"loss_without": losses[0], "loss_with": losses[1], "weight_decay": decays[1]},
    )


def _largest_decay(module: LightningModule) -> float:
    """Return the optimizer's; some, as AdamW, have one of their own without being told."""
    return max(float(group.get("weight_decay", 0.0)) for group in own_optimizer(module).param_groups)

"""Does a gradient reach every weight, is every weight trained, and is the gradient gone before the next step?"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import nn

from lightning_modules.checks.finding import Finding, Verdict
from lightning_modules.checks.training_step import own_optimizer, training_loss

_MOST_NAMES = 4
_LARGE_SHARE = 0.1


def gradient_flow(module: LightningModule, batch: Any) -> Finding:
    """Find trainable parameters that the loss does not depend on, and gradients that are not cleared between steps.

    Args:
        module: Untrained.
        batch: On its device.

    Raises:
        CannotBeCheckedError: If the module optimizes manually, or has not exactly one optimizer.
    """
    module.train()
    optimizer = own_optimizer(module)
    loss = training_loss(module, batch)
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    trainable = {name: each for name, each in module.named_parameters() if each.requires_grad}
    unreached = [name for name, each in trainable.items() if each.grad is None]
    still = [name for name, each in trainable.items() if each.grad is not None and not bool(each.grad.any())]
    module.optimizer_zero_grad(0, 0, optimizer)
    optimized = {id(each) for group in optimizer.param_groups for each in group["params"]}
    left = [
        name
        for name, each in trainable.items()
        if id(each) in optimized and each.grad is not None and bool(each.grad.any())
    ]
    total = sum(each.numel() for each in trainable.values())
    share = sum(trainable[name].numel() for name in unreached) / total if total else 1.0
    verdict, advice = Verdict.OK, ""
    if share == 1.0:
        verdict, advice = Verdict.FAILED, "no weight is reached: look for `detach`, `no_grad`, `.item()` or `.data`"
    elif share > _LARGE_SHARE:
        verdict, advice = Verdict.FAILED, f"look for `detach` or `no_grad` after {_listed(unreached)}"
    elif left:
        verdict, advice = Verdict.FAILED, "`optimizer_zero_grad` leaves gradients, which pile up from step to step"
    elif unreached:
        verdict, advice = Verdict.WARNING, f"unused weights, {_listed(unreached)}: leave them out or use them"
    elif still:
        verdict, advice = Verdict.WARNING, f"gradients of exactly 0, {_listed(still)}: dead units, or zeros as weights"
    seen = f"gradients reach {1.0 - share:.0%} of {total:,} trainable parameters"
    if left:
        seen += f", and {len(left)} of {len(trainable)} tensors keep theirs after `optimizer_zero_grad`"
    return Finding(
        check="gradient flow",
        verdict=verdict,
        seen=seen,
        healthy="all of them, and none left for the next step",
        advice=advice,
        figures={"share_reached": 1.0 - share, "n_zero_tensors": float(len(still)), "n_left": float(len(left))},
    )


def frozen_parameters(module: LightningModule, other: LightningModule) -> Finding:
    """Find weights that were drawn at random and are not trained: those differ between two seeds.

    Weights that are the same whatever the seed were loaded from somewhere, and may be frozen on purpose.

    Args:
        module: Untrained.
        other: The same, made with another seed.

    Raises:
        CannotBeCheckedError: If the module has not exactly one optimizer.
    """
    optimized = {id(each) for group in own_optimizer(module).param_groups for each in group["params"]}
    parameters = dict(module.named_parameters())
    others = dict(other.named_parameters())
    idle = [name for name, each in parameters.items() if not each.requires_grad or id(each) not in optimized]
    drawn = [name for name in idle if _differs(parameters[name], others.get(name))]
    total = sum(each.numel() for each in parameters.values())
    n_idle = sum(parameters[name].numel() for name in idle)
    forgotten = [name for name in drawn if parameters[name].requires_grad]
    verdict, advice = Verdict.OK, ""
    if not total or n_idle == total:
        verdict, advice = Verdict.FAILED, "nothing is trained: `requires_grad`, or the optimizer's parameters"
    elif forgotten:
        verdict, advice = Verdict.FAILED, f"the optimizer does not have {_listed(forgotten)}"
    elif drawn:
        verdict, advice = Verdict.FAILED, f"random weights stay random: {_listed(drawn)} need `requires_grad=True`"
    loaded = f", {n_idle:,} of them the same for every seed" if idle and not drawn else ""
    return Finding(
        check="frozen parameters",
        verdict=verdict,
        seen=f"{total - n_idle:,} of {total:,} parameters are trained{loaded}",
        healthy="every weight that was drawn at random is trained",
        advice=advice,
        figures={"n_trained": float(total - n_idle), "n_parameters": float(total)},
    )


def _differs(parameter: nn.Parameter, other: nn.Parameter | None) -> bool:
    return other is not None and parameter.shape == other.shape and not torch.equal(parameter, other.to(parameter))


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:_MOST_NAMES]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")

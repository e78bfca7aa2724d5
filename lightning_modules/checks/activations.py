"""How large activations are layer by layer, and how many units are dead or saturated, before training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from lightning_modules.checks.finding import CannotBeCheckedError, Finding, Verdict
from lightning_modules.checks.training_step import WEIGHTED, training_loss, without_dropout

_WARN, _FAIL = (1e-2, 1e2), (1e-4, 1e4)
_WARN_SHARE, _FAIL_SHARE = 0.5, 0.9
_SATURATION: tuple[tuple[type[nn.Module], float, float], ...] = (
    (nn.Tanh, -0.99, 0.99),
    (nn.Sigmoid, 0.01, 0.99),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerActivations:
    """What one layer puts out for a batch.

    Attributes:
        name: Of the layer in its module.
        mean: Over images, units and positions.
        std: Likewise.
        dead: Share of units that are 0 for every image: of an activation layer's outputs, of a weighted layer's inputs
            unless it is the first; NaN where that means nothing.
        saturated: Share of outputs in the flat part, of tanh and sigmoid; NaN for others.
    """

    name: str
    mean: float
    std: float
    dead: float
    saturated: float


def layer_activations(module: LightningModule, batch: Any) -> list[LayerActivations]:
    """Return what each weighted layer and each activation layer puts out, in the order in which they run.

    Args:
        module: Untrained; put into train mode without dropout.
        batch: On its device.
    """
    found: dict[str, LayerActivations] = {}
    handles = [
        layer.register_forward_hook(_noting(name, found))
        for name, layer in module.named_modules()
        if isinstance(layer, WEIGHTED) or type(layer).__module__ == "torch.nn.modules.activation"
    ]
    without_dropout(module)
    try:
        with torch.no_grad():
            training_loss(module, batch)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


def activations(module: LightningModule, batch: Any, *, scheme: str = "") -> Finding:
    """Judge the activations of an untrained module.

    Args:
        module: Untrained.
        batch: On its device.
        scheme: Name of its initialization for the finding, empty for none.

    Raises:
        CannotBeCheckedError: If it has no linear or convolutional layer that runs.

    Source:
        CS231n, "Neural Networks Part 2: Setting up the Data and the Loss", section "Weight Initialization"; "Part 3",
        section "Activation / Gradient distributions per layer".
    """
    layers = layer_activations(module, batch)
    weighted = {name for name, layer in module.named_modules() if isinstance(layer, WEIGHTED)}
    shown = [each for each in layers if each.name in weighted]
    stds = [each.std for each in shown]
    if not shown:
        raise CannotBeCheckedError("no linear or convolutional layer runs in the training step")
    hidden = stds[:-1] or [1.0]  # small logits are as good a start as any
    dead = max((each.dead for each in layers if math.isfinite(each.dead)), default=0.0)
    saturated = max((each.saturated for each in layers if math.isfinite(each.saturated)), default=0.0)
    verdict = Verdict.OK
    for (low, high), share, worse in ((_WARN, _WARN_SHARE, Verdict.WARNING), (_FAIL, _FAIL_SHARE, Verdict.FAILED)):
        if not (low <= min(hidden) and max(stds) <= high and dead <= share and saturated <= share):
            verdict = worse
    figures = {
        f"{each.name}.{what}": getattr(each, what)
        for each in layers
        for what in ("mean", "std", "dead", "saturated")
        if math.isfinite(getattr(each, what))
    }
    spreads = ", ".join(f"{each.mean:.1g} ± {each.std:.2g}" for each in _few(shown))
    return Finding(
        check=f"activations ({scheme})" if scheme else "activations",
        verdict=verdict,
        seen=f"mean ± std layer by layer {spreads}; dead units at most {dead:.0%}, saturated at most {saturated:.0%}",
        healthy=f"std {_WARN[0]:g} to {_WARN[1]:g} (failed beyond {_FAIL[0]:g} to {_FAIL[1]:g}), dead and saturated "
        f"under {_WARN_SHARE:.0%} (failed over {_FAIL_SHARE:.0%})",
        advice="" if verdict is Verdict.OK else _advice(hidden, stds),
        figures=figures,
    )


def _advice(hidden: list[float], stds: list[float]) -> str:
    if not min(hidden) >= _WARN[0]:
        return "initial weights are too small, signals die out: He for ReLU, Xavier for tanh, gain 1, or normalization"
    if not max(stds) <= _WARN[1]:
        return "initial weights are too large, signals explode: He for ReLU, Xavier for tanh, gain 1, or normalization"
    return "units do not react to the images: smaller weights, biases of 0, standardized inputs, leaky ReLU"


def _few(layers: list[LayerActivations]) -> list[LayerActivations]:
    """All of them, or eight evenly spaced from the first to the last."""
    if len(layers) <= 8:
        return layers
    return [layers[round(index * (len(layers) - 1) / 7)] for index in range(8)]


def _noting(name: str, found: dict[str, LayerActivations]) -> Callable[[nn.Module, Any, Any], None]:
    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim < 2 or not output.is_floating_point():
            return
        values = output.detach().float()
        dead = saturated = math.nan
        if isinstance(layer, WEIGHTED):
            # A ReLU may be a function, of which no hook tells: what comes in says the same. Dark pixels are not meant.
            dead = _dead_share(inputs[0]) if found and inputs and isinstance(inputs[0], Tensor) else math.nan
        else:
            dead = _dead_share(values)
            for kind, low, high in _SATURATION:
                if isinstance(layer, kind):
                    dead, saturated = math.nan, float(((values < low) | (values > high)).float().mean())
        found[name] = LayerActivations(
            name=name, mean=float(values.mean()), std=float(values.std()), dead=dead, saturated=saturated
        )

    return note


def _dead_share(values: Tensor) -> float:
    """Share of the units, dimension 1, that are 0 for all images and positions."""
    return float((values.detach().transpose(0, 1).flatten(1) == 0.0).all(dim=1).float().mean())

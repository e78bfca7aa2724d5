"""Are there values that are no numbers, pixels that never change, images of one colour, or inputs of a wrong size?"""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from lightning_modules.checks.finding import CannotBeCheckedError, Finding, Verdict
from lightning_modules.checks.training_step import WEIGHTED, training_loss

SCALE = (0.05, 10.0)
"""Root mean square of a network's inputs that is healthy; standardized images have 1, those from 0 to 255 about 100."""

_MOST_CONSTANT = 0.5
_MOST_BLANK = 0.01


def pixel_values(images: Tensor, *, split: str) -> Finding:
    """Look for values that are not finite, pixels that are the same in all images, and images of one colour.

    Args:
        images: ``(N, …)``, N >= 1.
        split: Whose they are, for the finding (``train``).
    """
    flat = images.detach().flatten(1)
    n_bad, sound = 0, flat
    if flat.is_floating_point():
        finite = torch.isfinite(flat).all(dim=1)
        n_bad = int((~finite).sum())
        sound = flat[finite] if n_bad else flat  # images may be half a gigabyte: no copy without need
    constant = float((sound.amax(dim=0) == sound.amin(dim=0)).float().mean()) if len(sound) > 1 else 0.0
    blank = float((sound.amax(dim=1) == sound.amin(dim=1)).float().mean()) if len(sound) else 0.0
    verdict, advice = Verdict.OK, ""
    if n_bad:
        verdict, advice = (
            Verdict.FAILED,
            "a loader that divides by 0, or a damaged file: every NaN spreads to all weights",
        )
    elif blank > _MOST_BLANK:
        verdict, advice = Verdict.WARNING, "images of one colour: files that cannot be read, or a crop that misses"
    elif constant > _MOST_CONSTANT:
        verdict, advice = Verdict.WARNING, "pixels that never change: crop them away, or look at how images are read"
    return Finding(
        check=f"pixel values ({split})",
        verdict=verdict,
        seen=f"{n_bad} of {len(flat):,} images have NaN or infinities, {blank:.1%} are of one colour, "
        f"{constant:.0%} of the pixels are the same in all",
        healthy=f"no NaN, at most {_MOST_BLANK:.0%} of one colour, at most {_MOST_CONSTANT:.0%} constant pixels",
        advice=advice,
        figures={"n_not_finite": float(n_bad), "blank_share": blank, "constant_share": constant},
    )


def input_scale(module: LightningModule, batch: Any) -> Finding:
    """Measure what the first linear or convolutional layer gets, after whatever the module does to its images.

    Args:
        module: Untrained.
        batch: On its device.

    Raises:
        CannotBeCheckedError: If no such layer runs.

    Source:
        CS231n, "Neural Networks Part 2: Setting up the Data and the Loss", section "Data Preprocessing".
    """
    inputs: list[Tensor] = []

    def note(layer: Any, given: tuple[Any, ...]) -> None:
        if not inputs and given and isinstance(given[0], Tensor):
            inputs.append(given[0].detach())

    handles = [each.register_forward_pre_hook(note) for each in module.modules() if isinstance(each, WEIGHTED)]
    try:
        with torch.no_grad():
            module.eval()
            training_loss(module, batch)
    finally:
        for handle in handles:
            handle.remove()
    if not inputs:
        raise CannotBeCheckedError("no linear or convolutional layer runs in the training step")
    return judged_input_scale(inputs[0])


def judged_input_scale(inputs: Tensor) -> Finding:
    """Judge what the first layer gets, any shape."""
    values = inputs.float()
    mean, size = float(values.mean()), math.sqrt(float(values.square().mean()))
    largest = float(values.abs().max())
    is_ok = SCALE[0] <= size <= SCALE[1]
    return Finding(
        check="input scale",
        verdict=Verdict.OK if is_ok else Verdict.WARNING,
        seen=f"the first layer gets values of root mean square {size:.3g}, mean {mean:.3g}, at most {largest:.3g}",
        healthy=f"root mean square {SCALE[0]:g} to {SCALE[1]:g}; standardized images have 1",
        advice=""
        if is_ok
        else "subtract the train mean and divide by its standard deviation"
        + (" (pixels seem to be 0 to 255)" if 100.0 < largest <= 256.0 else ""),
        figures={"rms": size, "mean": mean, "largest": largest},
    )

"""Is the loss of the untrained module what knowing nothing costs, and a mean over the batch?"""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.data import extract_batch_size

from lightning_modules.checks.finding import CannotBeCheckedError, Finding, Verdict
from lightning_modules.checks.training_step import first_samples, images_and_labels, scores, training_loss

NEAR = (0.7, 2.0)
"""Multiples of ln C between which the first loss is healthy; one with a He-drawn last layer begins at 1.2 to 1.9."""

FAR = (0.25, 4.0)
"""Multiples of ln C beyond which it is not worth training."""


def first_loss(module: LightningModule, batch: Any) -> Finding:
    """Compare the loss of the first step with ln C, the cross-entropy of C equal probabilities.

    Args:
        module: Untrained.
        batch: Images ``(N, …)`` and labels ``(N,)`` on its device.

    Raises:
        CannotBeCheckedError: If the module does not classify such batches.

    Source:
        CS231n, "Neural Networks Part 3: Learning and Evaluation", section "Before learning: sanity checks Tips/Tricks".
    """
    images, _ = images_and_labels(batch)
    with torch.no_grad():
        module.eval()
        n_outputs = scores(module, images).shape[1]
        module.train()
        loss = float(training_loss(module, batch))
    return judged_first_loss(loss, n_outputs=n_outputs)


def judged_first_loss(loss: float, *, n_outputs: int) -> Finding:
    """Judge a first loss.

    Args:
        loss: In nats; NaN fails.
        n_outputs: C, >= 2.
    """
    expected = math.log(n_outputs)
    verdict = Verdict.WARNING
    if NEAR[0] * expected <= loss <= NEAR[1] * expected:
        verdict = Verdict.OK
    elif not FAR[0] * expected <= loss <= FAR[1] * expected:
        verdict = Verdict.FAILED
    advice = ""
    if verdict is not Verdict.OK:
        advice = (
            "smaller initial weights (`init_gain`), standardized inputs, a loss that is averaged over the batch"
            if not loss < expected
            else "is the loss divided twice, or has the module been trained already?"
        )
    return Finding(
        check="first loss",
        verdict=verdict,
        seen=f"{loss:.3g}, where {n_outputs} equal probabilities cost ln {n_outputs} = {expected:.3g}",
        healthy=f"{NEAR[0]:g} to {NEAR[1]:g} times ln C (failed beyond {FAR[0]:g} to {FAR[1]:g})",
        advice=advice,
        figures={"loss": loss, "expected": expected},
    )


def loss_average(module: LightningModule, batch: Any) -> Finding:
    """Find out whether the loss is a mean over the batch: that of a whole batch is then the mean of its halves'.

    In eval mode, so that no half has statistics of its own; a term that does not depend on the batch changes nothing.

    Args:
        module: Untrained.
        batch: At least two samples, on its device.

    Raises:
        CannotBeCheckedError: If the batch has fewer samples, or the losses are not finite.
    """
    half = extract_batch_size(batch) // 2
    if half < 1:
        raise CannotBeCheckedError("the batch has fewer than two samples")
    module.eval()
    with torch.no_grad():
        whole = float(training_loss(module, first_samples(batch, 2 * half)))
        halves = [float(training_loss(module, first_samples(batch, half, start=start))) for start in (0, half)]
    mean = sum(halves) / 2.0
    if not (math.isfinite(whole) and math.isfinite(mean) and abs(mean) > 1e-12):
        raise CannotBeCheckedError(f"the losses are {whole:g} and {mean:g}")
    ratio = whole / mean
    verdict = Verdict.OK if abs(ratio - 1.0) <= 0.1 else Verdict.FAILED if ratio >= 1.5 else Verdict.WARNING
    return Finding(
        check="loss average",
        verdict=verdict,
        seen=f"the loss of {2 * half} images is {ratio:.2f} times the mean of its halves' losses",
        healthy="1 within 0.1; a sum has 2",
        advice=""
        if verdict is Verdict.OK
        else "average the loss over the batch (`reduction='mean'`): a sum makes the learning rate depend on batch size",
        figures={"ratio": ratio},
    )

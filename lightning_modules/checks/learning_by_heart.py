"""Can the module learn a handful of images by heart with its own optimizer? If not, nothing else is worth tuning."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from lightning_modules.checks.finding import CannotBeCheckedError, Finding, Verdict
from lightning_modules.checks.training_step import (
    images_and_labels,
    own_optimizer,
    scores,
    set_learning_rate,
    step,
    without_dropout,
)

_STEPS_BETWEEN_LOOKS = 5
_PATIENCE_STEPS = 40
_PROGRESS = 0.99
_FALLBACK_RATE = 1e-3
_NEAR_ZERO = 0.1
_FLOOR = 0.55


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """How far it came: steps taken, last loss, accuracy (NaN if there is none), and why it ended."""

    n_steps: int
    first: float
    loss: float
    accuracy: float
    looks_like_probabilities: bool
    is_learned: bool
    is_out_of_time: bool


def learning_by_heart(
    module: LightningModule,
    batch: Any,
    *,
    rates: Sequence[float] = (),
    most_steps: int = 200,
    most_seconds: float = 60.0,
) -> Finding:
    """Train on one small batch, over and over, with dropout off, and see whether it is learned.

    Args:
        module: Untrained; its own optimizer is used.
        batch: About 20 samples on its device.
        rates: Learning rates to try one after another, each > 0, from the same initial weights; empty for the
            optimizer's own. If none learns the batch, torch's Adam at 1e-3 tells the module from its hyperparameters.
        most_steps: Of each attempt, >= 1; an attempt ends sooner if 40 steps bring no progress.
        most_seconds: Of all attempts together, > 0.

    Raises:
        CannotBeCheckedError: If time was up before an answer.

    Source:
        CS231n, "Neural Networks Part 3: Learning and Evaluation", section "Before learning: sanity checks Tips/Tricks"
        ("Overfit a tiny subset of data").
    """
    deadline = time.monotonic() + most_seconds
    initial = copy.deepcopy(module.state_dict())
    attempts: list[tuple[str, _Attempt]] = []
    for rate in rates or (None,):
        module.load_state_dict(initial)
        optimizer = own_optimizer(module)
        if rate is not None:
            set_learning_rate(optimizer, rate)
        name = "its own optimizer" if rate is None else f"learning rate {rate:.2g}"
        attempts.append((name, _attempt(module, optimizer, batch, most_steps=most_steps, deadline=deadline)))
        if attempts[-1][1].is_learned:
            return _finding(*attempts[-1], n_tried=len(attempts))
        if attempts[-1][1].is_out_of_time:
            break
    name, best = min(attempts, key=lambda each: _rank(each[1]))
    if best.is_out_of_time:
        raise CannotBeCheckedError(f"time was up after {best.n_steps} steps ({_in_words(best)})")
    if best.accuracy >= 1.0:
        return _finding(name, best, n_tried=len(attempts))
    module.load_state_dict(initial)
    trained = [each for each in module.parameters() if each.requires_grad]
    if trained:
        adam = torch.optim.Adam(trained, lr=_FALLBACK_RATE)
        fallback = _attempt(module, adam, batch, most_steps=most_steps, deadline=deadline)
        if fallback.is_learned:
            return Finding(
                check="learning by heart",
                verdict=Verdict.WARNING,
                seen=f"not with {name} ({_in_words(best)}); torch's Adam at {_FALLBACK_RATE:g}: {_in_words(fallback)}",
                healthy=_HEALTHY,
                advice="the module can learn, not with these hyperparameters: see the learning-rate range",
                figures=_figures(best),
            )
    return _finding(name, best, n_tried=len(attempts))


_HEALTHY = f"accuracy 1 and a loss under {_NEAR_ZERO:g} of the first ({_FLOOR:g} with label smoothing)"


def _attempt(
    module: LightningModule, optimizer: torch.optim.Optimizer, batch: Any, *, most_steps: int, deadline: float
) -> _Attempt:
    without_dropout(module)
    first = loss = math.nan
    accuracy, looks = math.nan, False
    best, best_index = math.inf, 0
    for index in range(most_steps):
        loss = step(module, optimizer, batch, seed=index)
        first = loss if index == 0 else first
        if loss < _PROGRESS * best:
            best, best_index = loss, index
        is_last = index + 1 == most_steps or index - best_index >= _PATIENCE_STEPS or not math.isfinite(loss)
        out_of_time = time.monotonic() > deadline
        if (index + 1) % _STEPS_BETWEEN_LOOKS and not (is_last or out_of_time):
            continue
        accuracy, looks = _accuracy(module, batch)
        is_learned = loss <= _NEAR_ZERO * first and not accuracy < 1.0
        if is_learned or is_last or out_of_time:
            return _Attempt(
                n_steps=index + 1,
                first=first,
                loss=loss,
                accuracy=accuracy,
                looks_like_probabilities=looks,
                is_learned=is_learned,
                is_out_of_time=out_of_time and not is_learned,
            )
    raise AssertionError("most_steps >= 1")


@torch.no_grad()
def _accuracy(module: LightningModule, batch: Any) -> tuple[float, bool]:
    """Return the accuracy on the batch, NaN where there is none, and whether the outputs are probabilities."""
    try:
        images, labels = images_and_labels(batch)
        found = scores(module, images)
    except CannotBeCheckedError:
        return math.nan, False
    return float((found.argmax(dim=1) == labels).float().mean()), _are_probabilities(found)


def _are_probabilities(found: Tensor) -> bool:
    sums = found.sum(dim=1)
    return bool((found >= 0.0).all()) and bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-3))


def _rank(attempt: _Attempt) -> tuple[float, float]:
    accuracy = attempt.accuracy if math.isfinite(attempt.accuracy) else 0.0
    return -accuracy, attempt.loss if math.isfinite(attempt.loss) else math.inf


def _finding(name: str, attempt: _Attempt, *, n_tried: int) -> Finding:
    verdict, advice = (
        Verdict.FAILED,
        ("can labels be known from images, do all weights get gradients, is the learning rate of the right size?"),
    )
    if attempt.is_learned:
        verdict, advice = Verdict.OK, ""
    elif attempt.looks_like_probabilities:
        advice = "`forward` ends in a softmax and the loss has another one: cross-entropy takes logits"
    elif attempt.accuracy >= 1.0 and attempt.loss <= _FLOOR * attempt.first:
        verdict, advice = Verdict.OK, ""
    elif attempt.accuracy >= 1.0:
        advice = "the loss stays high though all images are right: a softmax too many, or too strong a regularization"
    elif attempt.loss <= _FLOOR * attempt.first and not attempt.accuracy < 0.5:
        verdict, advice = Verdict.WARNING, "more steps or another learning rate; no regularization on a first try"
    several = (
        "" if n_tried == 1 else f" (attempt {n_tried})" if verdict is Verdict.OK else f", the best of {n_tried} tried"
    )
    return Finding(
        check="learning by heart",
        verdict=verdict,
        seen=f"with {name}{several}: {_in_words(attempt)}",
        healthy=_HEALTHY,
        advice=advice,
        figures=_figures(attempt),
    )


def _in_words(attempt: _Attempt) -> str:
    accuracy = "" if math.isnan(attempt.accuracy) else f", accuracy {attempt.accuracy:.2f}"
    return f"loss {attempt.first:.3g} to {attempt.loss:.2g}{accuracy} in {attempt.n_steps} steps"


def _figures(attempt: _Attempt) -> dict[str, float]:
    return {
        "first_loss": attempt.first,
        "loss": attempt.loss,
        "accuracy": attempt.accuracy,
        "n_steps": float(attempt.n_steps),
    }

"""What a trial's curves say of how it trained: a verdict with the figures behind it.

The rules are those by which the lectures read loss curves, as thresholds on three losses (running, on train images, on
validation images), on the accuracies and on the learning rate. The first rule that holds gives the verdict.

The loss on train images in evaluation mode says nothing of the learning in its first epochs where there is batch
normalization, whose means and variances come in then; the running loss does.

Source:
    CS231n, "Neural Networks Part 3: Learning and Evaluation", sections "Babysitting the learning process" (loss
    function, train/val accuracy) and "Annealing the learning rate".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, pairwise

from search.loss_curves import LossCurves, spread
from search.study_definition import Objective
from search.trial import TrialRecord, TrialState

MIN_EPOCHS = 4
"""Fewer epochs than this show divergence, nothing else."""

_LARGE_GAP = 0.05  # of accuracy, at the end
_SLIGHT_GAP = 0.02  # enough where the validation loss rises, too
_UNIFORM = 0.002  # relative difference of the losses of a network that says the same of every image
_SLOWEST, _FAST_ENOUGH = 1e-4, 1e-3  # learning rates that explain a loss that does not move, and that do not
_JUMP, _BUMP = 1.25, 1.05  # factors by which the train loss rises from one epoch to the next
_BURST = 1.5  # factor by which it rises above its lowest value so far
_SEEN = 0.05  # of the first epoch's loss: smaller rises are the noise of a network that has learnt its images
_DECAYED = 0.1  # of the initial learning rate


class Verdict(StrEnum):
    """How a trial trained; the value is the word of the tag and of the tables."""

    DIVERGED = "diverged"
    TOO_SHORT = "too short to tell"
    RATE_TOO_HIGH = "learning rate too high"
    DEAD = "dead network"
    DECAYED_TOO_EARLY = "learning rate decayed too early"
    OVERFITTING = "overfitting"
    RATE_TOO_LOW = "learning rate too low"
    UNFINISHED = "still improving"
    UNDERFITTING = "underfitting"
    HEALTHY = "healthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """A verdict on a trial.

    Attributes:
        verdict: The word.
        figures: What it is founded on, in words and figures, and what to try where something can be tried.
    """

    verdict: Verdict
    figures: str

    def __str__(self) -> str:
        """Return ``verdict: figures``."""
        return f"{self.verdict}: {self.figures}"


def diagnose(record: TrialRecord, objective: Objective) -> Diagnosis | None:
    """Say how a finished trial trained.

    Needed are ``train_loss`` and either ``train_eval_loss`` or ``val_loss``, as the worker and most modules log them;
    accuracies are taken from the monitored metric if it is to be maximized and lies in ``[0, 1]``, else from
    ``val_acc``. What is missing is judged by the losses alone.

    Returns:
        None for a trial that is not finished, failed, or logged none of these losses throughout.
    """
    if not record.state.is_finished or record.state is TrialState.FAILED:
        return None
    if record.state is TrialState.DIVERGED:
        return _divergence(record)
    curves = LossCurves.of(record, objective)
    if curves is None:
        return None
    if len(curves.running) < MIN_EPOCHS:
        return Diagnosis(verdict=Verdict.TOO_SHORT, figures=f"{len(curves.running)} of {MIN_EPOCHS} epochs")
    for rule in (
        _too_high,
        _regularized_too_much,
        _motionless,
        _decayed_too_early,
        _overfitting,
        _still_falling,
        _underfitting,
    ):
        found = rule(curves)
        if found is not None:
            return found
    return Diagnosis(verdict=Verdict.HEALTHY, figures=curves.ends)


def _divergence(record: TrialRecord) -> Diagnosis:
    finite = [value for value in record.curve("train_loss") if math.isfinite(value)]
    course = f"train loss {finite[0]:.3g} in epoch 1, {finite[-1]:.3g} in epoch {len(finite)}" if finite else ""
    figures = "; ".join(filter(None, (record.reason, course)))
    return _verdict(Verdict.DIVERGED, f"{figures}; try a smaller learning rate, a warm-up, or clipped gradients")


def _too_high(curves: LossCurves) -> Diagnosis | None:
    """The loss jumps about, or has shot up, instead of falling."""
    latter = curves.train[len(curves.train) // 2 - 1 :]
    rises = [(after / before, after - before) for before, after in pairwise(latter) if before > 0.0]
    n_jumps = sum(factor > _JUMP and rise > _SEEN * curves.running[0] for factor, rise in rises)
    n_bumps = sum(factor > _BUMP for factor, _ in rises)
    try_this = "try a smaller learning rate, or let it decay"
    if n_jumps >= max(2.0, 0.25 * len(rises)):
        figures = f"the train loss rose by a quarter or more in {n_jumps} of the last {len(rises)} epochs"
        return _verdict(Verdict.RATE_TOO_HIGH, f"{figures}{curves.rate_in_words} ({curves.ends}); {try_this}")
    if not curves.is_poorly_fitted:
        return None
    burst = _burst(curves.running, seen=_SEEN * curves.running[0]) or _burst(
        curves.train, seen=_SEEN * curves.running[0]
    )
    # A first epoch that is far worse than the last is a burst within it, unless the loss still comes down from there.
    if (
        burst is None
        and curves.running[0] > 5.0 * curves.running[-1]
        and curves.fall_per_epoch < 0.05 * curves.train[-1]
    ):
        burst = f"the train loss was {curves.running[0]:.3g} in epoch 1, {curves.running[-1]:.3g} in the end"
    if burst is not None:
        return _verdict(Verdict.RATE_TOO_HIGH, f"{burst}{curves.rate_in_words}; {try_this}")
    if n_bumps >= max(2.0, 0.3 * len(rises)):
        figures = f"the train loss rose in {n_bumps} of the last {len(rises)} epochs"
        return _verdict(Verdict.RATE_TOO_HIGH, f"{figures}{curves.rate_in_words} ({curves.ends}); {try_this}")
    return None


def _burst(losses: Sequence[float], *, seen: float) -> str | None:
    """Tell of the largest rise above the lowest loss so far, if there is one that counts."""
    lowest = list(accumulate(losses, min))
    factor, epoch = max(
        (after / low if low > 0.0 else 0.0, k) for k, (low, after) in enumerate(zip(lowest, losses, strict=True))
    )
    if factor < _BURST or losses[epoch] - lowest[epoch] < seen:
        return None
    return f"the train loss rose from {lowest[epoch]:.3g} to {losses[epoch]:.3g} in epoch {epoch + 1}"


def _motionless(curves: LossCurves) -> Diagnosis | None:
    """No loss moves: the learning rate is too low, or nothing that is learnt reaches the output."""
    level, n = curves.running[-1], len(curves.train)
    moved = spread(curves.running) / level if level > 0.0 else math.inf
    settled = spread(curves.train[n // 4 :]) / curves.train[-1] if curves.train[-1] > 0.0 else math.inf
    is_still = moved < 0.05 and (settled < 0.02 or (curves.learns is False and moved < 0.02))
    if not (curves.is_poorly_fitted and is_still):
        return None
    if (curves.rate and max(curves.rate) < _SLOWEST) or curves.learns:
        is_dead = False
    elif curves.rate and curves.rate[0] >= _FAST_ENOUGH:
        is_dead = True
    else:
        is_dead = spread([level, curves.train[-1], *curves.val[-1:]]) < _UNIFORM * level
    figures = f"the train loss stays at {level:.4g}, within {moved:.1%} in {n} epochs{curves.rate_in_words}"
    if not is_dead:
        return _decayed_too_early(curves) or _verdict(Verdict.RATE_TOO_LOW, f"{figures}; try a larger one")
    return _verdict(
        Verdict.DEAD,
        f"{figures}, as if the images were not seen; look at the scale of the initialization, at units that are never "
        "active (a high learning rate may have killed them), and at what is frozen",
    )


def _decayed_too_early(curves: LossCurves) -> Diagnosis | None:
    """The loss fell while the learning rate was high, and stays high since it is low."""
    if not curves.rate or not curves.is_poorly_fitted:
        return None
    low = next((k for k, rate in enumerate(curves.rate) if rate < _DECAYED * curves.rate[0]), None)
    if low is None or low >= len(curves.rate) * 2 / 3:
        return None
    first, before, end = curves.train[max(0, low - 4)], curves.train[low - 1], curves.train[-1]
    fell = (first - before) / min(3, low - 1) if low > 1 else math.inf
    rests = before - end < 0.15 * before or (low > 1 and curves.fall_per_epoch < 0.25 * fell)
    if fell < 0.005 * before or not rests:
        return None
    return _verdict(
        Verdict.DECAYED_TOO_EARLY,
        f"from epoch {low + 1} on the learning rate was below a tenth of its first value ({curves.rate[0]:.2g}), and "
        f"the train loss fell from {before:.3g} to {end:.3g} only, by {max(0.0, curves.fall_per_epoch / end):.1%} an "
        "epoch at last; try a larger lr_decay, another schedule",
    )


def _overfitting(curves: LossCurves) -> Diagnosis | None:
    """Train and validation accuracy part, or the validation loss rises while the train loss falls."""
    try_this = "try dropout, weight decay, augmentation, or a smaller network"
    # Far from fitting its train images a network has other worries, unless the gap is about as large as what it lacks.
    if curves.gap > max(_LARGE_GAP, 0.5 * (1.0 - max(curves.train_accuracy, default=0.0))):
        return _verdict(Verdict.OVERFITTING, f"{curves.ends}: a gap of {curves.gap:.3f}; {try_this}")
    if not curves.val:
        return None
    best = min(range(len(curves.val)), key=lambda k: (math.isnan(curves.val[k]), curves.val[k]))
    rises = curves.val[-1] > 1.1 * curves.val[best] and curves.train[-1] < 0.9 * curves.train[best]
    if not rises or curves.gap <= _SLIGHT_GAP:
        return None
    return _verdict(
        Verdict.OVERFITTING,
        f"since epoch {best + 1} the validation loss rose from {curves.val[best]:.3g} to {curves.val[-1]:.3g} while "
        f"the train loss fell from {curves.train[best]:.3g} to {curves.train[-1]:.3g}; {try_this}, or stop there",
    )


def _regularized_too_much(curves: LossCurves) -> Diagnosis | None:
    """In training the network is far worse than the same network in evaluation."""
    if not curves.is_poorly_fitted or not (curves.running_accuracy and curves.train_accuracy):
        return None
    running, train = curves.running_accuracy[-1], curves.train_accuracy[-1]
    if not train - running > 0.3:
        return None
    return _verdict(
        Verdict.UNDERFITTING,
        f"accuracy on train images is {running:.3f} in training and {train:.3f} in evaluation; try less "
        "dropout or weaker augmentation",
    )


def _still_falling(curves: LossCurves) -> Diagnosis | None:
    """The train loss is high and falls all the time: slowly if the learning rate is low."""
    if not curves.is_poorly_fitted:
        return None
    end, fall, n = curves.train[-1], curves.fall_per_epoch, len(curves.train)
    if fall < 0.002 * end:
        return _hardly_fallen(curves)
    figures = f"the train loss is {end:.3g} and falls by {fall / end:.1%} an epoch{curves.rate_in_words}"
    if end / fall > 4.0 * max(curves.horizon, n):
        return _verdict(Verdict.RATE_TOO_LOW, f"{figures}; try a larger one")
    faster = " or a larger learning rate" if fall < 0.1 * end else ""
    return _verdict(Verdict.UNFINISHED, f"{figures}; try more epochs{faster}")


def _hardly_fallen(curves: LossCurves) -> Diagnosis | None:
    """It has fallen all the time, and the accuracy shows it, but by next to nothing."""
    first, middle, last = curves.running[0], curves.running[len(curves.running) // 2], curves.running[-1]
    if not (curves.learns and 0.9 * first < last < middle < first):
        return None
    return _verdict(
        Verdict.RATE_TOO_LOW,
        f"the train loss has fallen from {first:.3g} to {last:.3g} only{curves.rate_in_words}; try a larger one",
    )


def _underfitting(curves: LossCurves) -> Diagnosis | None:
    """The train loss is high and falls no more, and validation is no worse."""
    if not curves.is_poorly_fitted:
        return None
    return _verdict(
        Verdict.UNDERFITTING,
        f"{curves.ends}, and the train loss falls no more ({curves.fall_per_epoch / curves.train[-1]:.1%} an epoch); "
        "try a larger network or less regularization",
    )


def _verdict(verdict: Verdict, figures: str) -> Diagnosis:
    return Diagnosis(verdict=verdict, figures=figures)

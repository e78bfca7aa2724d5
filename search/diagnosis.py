"""What a trial's curves say of how it trained: a verdict with the figures behind it.

The rules are those by which the lectures read loss curves, as thresholds on three losses (running, on train images, on
validation images), on the accuracies and on the learning rate. They are tried in the order of `Verdict`; the first one
that holds is the verdict.

Source:
    CS231n, "Neural Networks Part 3: Learning and Evaluation", sections "Babysitting the learning process" (loss
    function, train/val accuracy) and "Annealing the learning rate".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from lightning_modules.callbacks.metric_names import stem, train_eval_name
from search.study_definition import Direction, Objective
from search.trial import TrialRecord, TrialState

MIN_EPOCHS = 4
"""Fewer epochs than this show divergence, nothing else."""

WELL_FITTED = 0.9
"""Train accuracy from which on a network is not said to underfit."""

_LARGE_GAP = 0.05  # of accuracy, at the end
_SLIGHT_GAP = 0.02  # enough where the validation loss rises, too
_UNIFORM = 0.002  # relative difference of the losses of a network that says the same of every image
_SLOWEST, _FAST_ENOUGH = 1e-4, 1e-3  # learning rates that explain a loss that does not move, and that do not
_JUMP, _BUMP = 1.25, 1.05  # factors by which the train loss rises from one epoch to the next
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
    curves = _Curves.of(record, objective)
    if curves is None:
        return None
    if len(curves.running) < MIN_EPOCHS:
        return Diagnosis(verdict=Verdict.TOO_SHORT, figures=f"{len(curves.running)} of {MIN_EPOCHS} epochs")
    for rule in (
        _too_high,
        _motionless,
        _decayed_too_early,
        _overfitting,
        _regularized_too_much,
        _still_falling,
        _underfitting,
    ):
        found = rule(curves)
        if found is not None:
            return found
    return Diagnosis(verdict=Verdict.HEALTHY, figures=curves.ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curves:
    """Losses, accuracies and learning rate by epoch, all of one length.

    Attributes:
        running: Loss in training, with dropout on.
        train: Loss on train images in evaluation mode; `running` if it was not measured.
        val: Loss on validation images; empty if it was not logged.
        running_accuracy, train_accuracy, val_accuracy: In ``[0, 1]``; empty if not logged.
        rate: Learning rate at the epochs' beginnings; empty if there is none.
        horizon: Epochs that the schedule spans.
    """

    running: Sequence[float]
    train: Sequence[float]
    val: Sequence[float]
    running_accuracy: Sequence[float]
    train_accuracy: Sequence[float]
    val_accuracy: Sequence[float]
    rate: Sequence[float]
    horizon: int

    @classmethod
    def of(cls, record: TrialRecord, objective: Objective) -> _Curves | None:
        def curve(name: str) -> tuple[float, ...]:
            values = record.curve(name)
            return values if all(map(math.isfinite, values)) else ()

        loss = _loss_name(objective)
        running, train, val = curve("train_loss"), curve(train_eval_name(loss)), curve(loss)
        if not running or not (train or val):
            return None
        accuracy = _accuracy_name(record, objective)
        return cls(
            running=running,
            train=train or running,
            val=val,
            running_accuracy=curve(f"train_{stem(accuracy)}"),
            train_accuracy=curve(train_eval_name(accuracy)),
            val_accuracy=curve(accuracy),
            rate=curve("learning_rate"),
            horizon=record.horizon_epochs,
        )

    @property
    def is_poorly_fitted(self) -> bool:
        """Whether the train images are not learnt: by accuracy if there is one, else by the share of the loss left.

        Of a loss that may be negative nobody can tell.
        """
        if not self.train[-1] > 0.0:
            return False
        if self.train_accuracy:
            return self.train_accuracy[-1] < WELL_FITTED
        return self.train[-1] > 0.5 * self.running[0]

    @property
    def gap(self) -> float:
        """Accuracy on train images less that on validation images at the end; NaN if unknown."""
        if not (self.train_accuracy and self.val_accuracy):
            return math.nan
        return self.train_accuracy[-1] - self.val_accuracy[-1]

    @property
    def fall_per_epoch(self) -> float:
        """Mean fall of the train loss over the last quarter, three epochs at least, in its own unit."""
        n = max(3, len(self.train) // 4)
        return (self.train[-1 - n] - self.train[-1]) / n

    @property
    def ends(self) -> str:
        """How good it is in the end."""
        parts = [f"train loss {self.train[-1]:.3g}"]
        if self.val:
            parts.append(f"validation loss {self.val[-1]:.3g}")
        if math.isfinite(self.gap):
            parts.append(f"accuracy {self.train_accuracy[-1]:.3f} on train, {self.val_accuracy[-1]:.3f} on validation")
        return ", ".join(parts)

    @property
    def rate_in_words(self) -> str:
        """The learning rate's course, with a word before it."""
        if not self.rate:
            return ""
        last = f" to {self.rate[-1]:.2g}" if not math.isclose(self.rate[0], self.rate[-1]) else ""
        return f" at a learning rate of {self.rate[0]:.2g}{last}"


def _loss_name(objective: Objective) -> str:
    """Return the validation loss: the monitored metric if it is one, else ``val_loss``."""
    if objective.direction is Direction.MINIMIZE and "loss" in objective.monitor:
        return objective.monitor
    return "val_loss"


def _accuracy_name(record: TrialRecord, objective: Objective) -> str:
    values = [value for value in record.curve(objective.monitor) if math.isfinite(value)]
    is_share = objective.direction is Direction.MAXIMIZE and all(0.0 <= value <= 1.0 for value in values)
    return objective.monitor if is_share and values else "val_acc"


def _divergence(record: TrialRecord) -> Diagnosis:
    finite = [value for value in record.curve("train_loss") if math.isfinite(value)]
    course = f"train loss {finite[0]:.3g} in epoch 1, {finite[-1]:.3g} in epoch {len(finite)}" if finite else ""
    figures = "; ".join(filter(None, (record.reason, course)))
    return _verdict(Verdict.DIVERGED, f"{figures}; try a smaller learning rate, a warm-up, or clipped gradients")


def _too_high(curves: _Curves) -> Diagnosis | None:
    """The loss jumps about, or has shot up, instead of falling."""
    latter = curves.train[len(curves.train) // 2 - 1 :]
    rises = [after / before for before, after in pairwise(latter) if before > 0.0]
    n_jumps, n_bumps = sum(rise > _JUMP for rise in rises), sum(rise > _BUMP for rise in rises)
    try_this = "try a smaller learning rate, or let it decay"
    if n_jumps >= max(2.0, 0.25 * len(rises)):
        figures = f"the train loss rose by a quarter or more in {n_jumps} of the last {len(rises)} epochs"
        return _verdict(Verdict.RATE_TOO_HIGH, f"{figures}{curves.rate_in_words} ({curves.ends}); {try_this}")
    if not curves.is_poorly_fitted:
        return None
    losses = curves.running if max(curves.running) > max(curves.train) else curves.train
    peak = max(losses)
    if peak > 10.0 * losses[-1]:
        figures = f"the train loss was {peak:.3g} in epoch {losses.index(peak) + 1}, {losses[-1]:.3g} in the end"
        return _verdict(Verdict.RATE_TOO_HIGH, f"{figures}{curves.rate_in_words}; {try_this}")
    if n_bumps >= max(2.0, 0.3 * len(rises)):
        figures = f"the train loss rose in {n_bumps} of the last {len(rises)} epochs"
        return _verdict(Verdict.RATE_TOO_HIGH, f"{figures}{curves.rate_in_words} ({curves.ends}); {try_this}")
    return None


def _motionless(curves: _Curves) -> Diagnosis | None:
    """No loss moves: the learning rate is too low, or nothing that is learnt reaches the output."""
    level, n = curves.train[-1], len(curves.train)
    # The first epochs count less: means and variances of batch normalization come in there, whatever is learnt.
    moved = _spread(curves.train[n // 4 :]) / level if level > 0.0 else math.inf
    is_still = moved < 0.02 and _spread(curves.train) < 0.1 * level and _spread(curves.running) < 0.05 * level
    if not (curves.is_poorly_fitted and is_still):
        return None
    if curves.rate and max(curves.rate) < _SLOWEST:
        is_dead = False
    elif curves.rate and curves.rate[0] >= _FAST_ENOUGH:
        is_dead = True
    else:
        is_dead = _spread([curves.running[-1], level, *curves.val[-1:]]) < _UNIFORM * level
    figures = f"the train loss stays at {level:.4g}, within {moved:.1%} over {n - n // 4} epochs{curves.rate_in_words}"
    if not is_dead:
        return _verdict(Verdict.RATE_TOO_LOW, f"{figures}; try a larger one")
    return _verdict(
        Verdict.DEAD,
        f"{figures}, as if the images were not seen; look at the scale of the initialization, at units that are never "
        "active, and at what is frozen",
    )


def _decayed_too_early(curves: _Curves) -> Diagnosis | None:
    """The loss fell while the learning rate was high, and stays high since it is low."""
    if not curves.rate or not curves.is_poorly_fitted:
        return None
    low = next((k for k, rate in enumerate(curves.rate) if rate < _DECAYED * curves.rate[0]), None)
    if low is None or low >= len(curves.rate) / 2:
        return None
    before, end = curves.train[low - 1], curves.train[-1]
    was_falling = low < 2 or curves.train[low - 2] - before > 0.005 * before
    if not was_falling or before - end > 0.15 * before:
        return None
    return _verdict(
        Verdict.DECAYED_TOO_EARLY,
        f"from epoch {low + 1} on the learning rate was below a tenth of its first value ({curves.rate[0]:.2g}), and "
        f"the train loss fell no further than from {before:.3g} to {end:.3g}; try a larger lr_decay, another schedule",
    )


def _overfitting(curves: _Curves) -> Diagnosis | None:
    """Train and validation accuracy part, or the validation loss rises while the train loss falls."""
    try_this = "try dropout, weight decay, augmentation, or a smaller network"
    if curves.gap > _LARGE_GAP:
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


def _regularized_too_much(curves: _Curves) -> Diagnosis | None:
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


def _still_falling(curves: _Curves) -> Diagnosis | None:
    """The train loss is high and falls all the time: slowly if the learning rate is low."""
    if not curves.is_poorly_fitted:
        return None
    end, fall, n = curves.train[-1], curves.fall_per_epoch, len(curves.train)
    if fall < 0.002 * end:
        return None
    figures = f"the train loss is {end:.3g} and falls by {fall / end:.1%} an epoch{curves.rate_in_words}"
    if end / fall > 4.0 * max(curves.horizon, n):
        return _verdict(Verdict.RATE_TOO_LOW, f"{figures}; try a larger one")
    return _verdict(Verdict.UNFINISHED, f"{figures}; try more epochs or a larger learning rate")


def _underfitting(curves: _Curves) -> Diagnosis | None:
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


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)

"""A finished trial's losses, accuracies and learning rate by epoch, and what is read off them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_modules.callbacks.metric_names import stem, train_eval_name
from search.study_definition import Direction, Objective
from search.trial import TrialRecord

WELL_FITTED = 0.9
"""Train accuracy from which on a network is not said to underfit."""

_LEARNS = 0.05  # difference of accuracies that tells learning from chance


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCurves:
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
    def of(cls, record: TrialRecord, objective: Objective) -> LossCurves | None:
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
    def learns(self) -> bool | None:
        """Whether the accuracy on train images moves by more than chance; None if it is unknown."""
        accuracy = self.train_accuracy or self.running_accuracy
        return spread(accuracy) > _LEARNS if accuracy else None

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


def spread(values: Sequence[float]) -> float:
    """Return the difference of the largest and the smallest value."""
    return max(values) - min(values)

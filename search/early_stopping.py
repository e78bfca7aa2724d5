"""Stopping a trial for what its own curve shows: it went flat, or it diverged (pruning compares trials instead)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from search.study_definition import Direction, EarlyStopping


def divergence_reason(metrics: Mapping[str, float], *, monitor: str, epoch: int) -> str:
    """Return how an epoch shows that the training diverged, or an empty string if it does not.

    Only ``train_loss`` and the monitored metric tell, where they are there. Another metric may be NaN (the precision of
    a class that no sample has) without a word about the training.

    Args:
        metrics: Scalars of the epoch by name; may hold NaN and infinities.
        monitor: Name of the monitored metric.
        epoch: Epochs finished, >= 1.
    """
    for name in (monitor, "train_loss"):
        if not math.isfinite(metrics.get(name, 0.0)):
            return f"{name} is {metrics[name]} after epoch {epoch}"
    return ""


def flat_reason(curve: Sequence[float], *, direction: Direction, rule: EarlyStopping) -> str:
    """Return why the trial should stop now, or an empty string if it should go on.

    An epoch counts as an improvement if it is better than the last improvement by more than ``min_delta``; NaN and
    infinities never are.

    Args:
        curve: The monitored metric by epoch, from epoch 1 up to now.
        direction: Whether more is better.
        rule: Patience in epochs and the smallest change that counts.
    """
    best, best_epoch = direction.worst, 0
    for epoch, value in enumerate(curve, start=1):
        if math.isfinite(value) and direction.sign * (value - best) > rule.min_delta:
            best, best_epoch = value, epoch
    waited = len(curve) - best_epoch
    if waited < rule.patience_epochs:
        return ""
    if best_epoch == 0:
        return f"no finite value in {waited} epochs (patience {rule.patience_epochs})"
    margin = f"more than {rule.min_delta:g}" if rule.min_delta > 0.0 else "any amount"
    return (
        f"no improvement by {margin} in {waited} epochs (patience {rule.patience_epochs}); "
        f"best {best:.6g} at epoch {best_epoch}"
    )

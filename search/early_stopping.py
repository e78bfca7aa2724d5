"""Stopping a trial whose own curve has gone flat (not to be mixed up with pruning, which compares trials)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from search.study_definition import Direction, EarlyStopping


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

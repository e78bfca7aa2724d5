"""The reward that trials are ranked by: the monitored metric at its best epoch, less a penalty on overfitting."""

from __future__ import annotations

import math

from lightning_modules.callbacks.metric_names import gap_name
from search.study_definition import Direction, Objective
from search.trial import Score, TrialRecord, TrialState


def score(record: TrialRecord, objective: Objective) -> Score | None:
    """Return what the trial is ranked by so far.

    With m the monitored metric at its best epoch (the first of equal ones; epochs where it is NaN or infinite do not
    count), g its generalization gap there (positive = overfitting), w the weight and t the tolerance, the reward is
    ``m - w * max(0, g - t)`` if more is better, else ``m + w * max(0, g - t)``. A gap that is NaN costs nothing: a
    study whose gap can never be measured is refused before its first trial, and a single hole must not decide.

    Args:
        record: A snapshot of the trial.
        objective: What is optimized.

    Returns:
        None for a failed trial, and for one without a finite value that is not finished or was stopped. The worst
        infinity as reward for a diverged trial, whatever it reached before, and for another without a finite value.
    """
    if record.state is TrialState.FAILED:
        return None
    values = record.curve(objective.monitor)
    best = best_epoch(values, objective.direction)
    if best == 0:
        if not record.state.is_finished or record.state is TrialState.STOPPED:
            return None
        return Score(reward=objective.direction.worst, best_value=math.nan, best_epoch=0, gap_at_best=math.nan)
    value = values[best - 1]
    gap = record.curve(gap_name(objective.monitor))[best - 1]
    diverged = record.state is TrialState.DIVERGED
    return Score(
        reward=objective.direction.worst if diverged else penalized(value, gap, objective),
        best_value=value,
        best_epoch=best,
        gap_at_best=gap,
    )


def penalized(value: float, gap: float, objective: Objective) -> float:
    """Return the reward of one epoch: its monitored `value`, worse by the penalty on its `gap` (NaN: no penalty)."""
    excess = gap - objective.gap_tolerance
    if not excess > 0.0 or objective.gap_weight == 0.0:
        return value
    return value - objective.direction.sign * objective.gap_weight * excess


def best_epoch(values: tuple[float, ...], direction: Direction) -> int:
    """Return the epoch, counted from 1, of the first best finite value; 0 if there is none."""
    finite = [(direction.sign * value, -epoch) for epoch, value in enumerate(values, start=1) if math.isfinite(value)]
    return -max(finite)[1] if finite else 0

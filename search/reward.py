"""The reward that trials are ranked by: the monitored metric at its best epoch, less a penalty on overfitting.

Constraints come first in the ranking: a trial that breaks one is worse than any that keeps them all, however good its
reward is. Further objectives are measured where the reward is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from lightning_modules.callbacks.metric_names import N_PARAMETERS, gap_name
from search.pareto import front
from search.study_definition import EPOCH_SECONDS, Direction, Objective
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
        return _scored(record, objective, reward=objective.direction.worst, epoch=0)
    diverged = record.state is TrialState.DIVERGED
    gap = record.curve(gap_name(objective.monitor))[best - 1]
    reward = objective.direction.worst if diverged else penalized(values[best - 1], gap, objective)
    return _scored(record, objective, reward=reward, epoch=best)


def rank_key(score: Score, objective: Objective) -> tuple[float, ...]:
    """Return what trials are sorted by, the better ones first.

    Kept constraints come first, then the reward; the further objectives, in their order, decide between equal rewards,
    so that the best of all that keep the constraints lies on their Pareto front. What diverged comes last.
    """
    broken = score.violation if math.isfinite(score.reward) else math.inf
    return (broken, *losses_of(score, objective))


def measured(record: TrialRecord, metric: str, *, epoch: int) -> float:
    """Return a metric of the trial at an epoch, counted from 1; NaN if the epoch lacks it, or if it is 0.

    Of ``epoch_seconds`` it is the median of all epochs: what one of them took is chance, the first one above all.
    """
    if epoch == 0:
        return math.nan
    if metric == EPOCH_SECONDS:
        return statistics.median([value for value in record.curve(metric) if math.isfinite(value)] or [math.nan])
    return float(record.epochs[epoch - 1].metrics.get(metric, math.nan))


def measured_name(metric: str) -> str:
    """Return the name of what `measured` returns, in tables and in MLflow."""
    if metric == N_PARAMETERS:
        return metric
    return f"median_{metric}" if metric == EPOCH_SECONDS else f"{metric}_at_best"


def measured_means(scores: Sequence[Score | None], objective: Objective) -> dict[str, float]:
    """Return means over runs of what further objectives and constraints are about; NaN where a run lacks it."""
    return {
        metric: statistics.fmean(math.nan if each is None else each.measured[metric] for each in scores)
        if scores
        else math.nan
        for metric in objective.measured_metrics
    }


def reward_name(objective: Objective) -> str:
    """Return what the reward is called beside other objectives: the monitored metric's name where it is just that."""
    return "reward" if objective.gap_weight > 0.0 else objective.monitor


def losses_of(score: Score, objective: Objective) -> tuple[float, ...]:
    """Return what a trial comes to in every objective, the reward first; less is better."""
    return (-objective.direction.sign * score.reward, *score.losses)


def pareto_front(scores: Sequence[Score], objective: Objective) -> list[int]:
    """Return the positions of the trials that none dominates, in order; of those that keep the constraints, if any do.

    Args:
        scores: With finite rewards.
        objective: What is optimized.
    """
    return front([losses_of(each, objective) for each in scores], [each.violation for each in scores])


def _scored(record: TrialRecord, objective: Objective, *, reward: float, epoch: int) -> Score:
    values = {metric: measured(record, metric, epoch=epoch) for metric in objective.measured_metrics}
    losses = [-each.direction.sign * values[each.monitor] for each in objective.further]
    return Score(
        reward=reward,
        best_value=measured(record, objective.monitor, epoch=epoch),
        best_epoch=epoch,
        gap_at_best=measured(record, gap_name(objective.monitor), epoch=epoch),
        measured=values,
        losses=tuple(loss if math.isfinite(loss) else math.inf for loss in losses),
        excesses=tuple(each.excess(values[each.metric]) for each in objective.constraints),
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

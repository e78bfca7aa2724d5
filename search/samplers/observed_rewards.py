"""What the finished trials of an Optuna study teach: one standardized reward each, more is better."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.samplers.coordinates import Array

VALUED_STATES = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of the trials whose values teach something."""

FINISHED_STATES = (*VALUED_STATES, TrialState.FAIL)
"""Likewise, and of those that failed: of a model that heard nothing of them, what cannot be trained is asked for again
and again, since nowhere else is it as unsure. They count among the worst.

Source: Wakabayashi et al., "Bayesian optimization with experimental failure for high-throughput materials growth", npj
Computational Materials 8 (2022).
"""


def without_retried(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Leave out failed trials without parameters, and those whose parameters another trial has and did not fail."""
    if all(each.state is not TrialState.FAIL for each in trials):
        return list(trials)
    tried = {_key(each) for each in trials if each.state is not TrialState.FAIL}
    return [each for each in trials if each.state is not TrialState.FAIL or (each.params and _key(each) not in tried)]


def total_violation(trial: FrozenTrial) -> float:
    """Return the sum of what a trial misses its constraints by (`Trial.set_constraint`), >= 0, infinity included."""
    return sum(excess for excess in trial.constraints.values() if excess > 0.0)


def below_all(kept: Sequence[float], violation: float) -> float:
    """Return what a trial that breaks constraints counts as: less than all that keep them, the less the more it does.

    Args:
        kept: Values of trials that keep them, finite, more is better.
        violation: Total of it, > 0.
    """
    low, high = min(kept, default=0.0), max(kept, default=0.0)
    margin = (high - low) or max(abs(low), 1.0)
    share = violation / (1.0 + violation) if math.isfinite(violation) else 1.0
    return low - (0.5 + 0.5 * share) * margin


def standardized_rewards(trials: Sequence[FrozenTrial], *, direction: StudyDirection) -> Array:
    """Return the trials' rewards with mean 0 and standard deviation 1 (all 0 where they do not differ).

    Rewards worse than the median are cut off as far below it as the best one is above: a diverged trial must not
    stretch the scale on which the good ones differ. A pruned trial has its last value, but at most the median of the
    complete ones, since it was worse than its peers; without a value it counts among the worst, and so do an infinitely
    bad one and one that failed. One that breaks constraints is worse than all that keep them.

    Args:
        trials: Finished ones, ``n``.
        direction: Of the study.

    Returns:
        Finite, shape ``(n,)``.
    """
    sign = 1.0 if direction is StudyDirection.MAXIMIZE else -1.0
    values = np.array([-math.inf if each.value is None else sign * each.value for each in trials])
    values[np.isnan(values)] = -math.inf
    is_complete = np.array([each.state is TrialState.COMPLETE for each in trials], dtype=bool)
    violations = np.array([total_violation(each) for each in trials])
    kept = values[is_complete & np.isfinite(values) & ~(violations > 0.0)]
    for index in np.flatnonzero(violations > 0.0):
        values[index] = below_all(kept, float(violations[index]))
    judged = values[is_complete & np.isfinite(values)]
    if len(judged):
        values[~is_complete] = np.minimum(values[~is_complete], np.median(judged))
    return _standardized(_winsorized(values))


def _winsorized(values: Array) -> Array:
    """Return finite values, none further below the median than the best is above it, unless that is nowhere."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.zeros(len(values))
    best, median = finite.max(), np.median(finite)
    floor = median - (best - median) if best > median else finite.min() - (best == finite.min())
    return np.clip(values, floor, best)


def _standardized(values: Array) -> Array:
    centered: Array = values - values.mean() if len(values) else values
    spread = float(np.sqrt(np.mean(centered**2))) if len(values) else 0.0
    return centered / spread if spread > 0.0 else np.zeros(len(values))


def _key(trial: FrozenTrial) -> str:
    return repr(sorted(trial.params.items()))

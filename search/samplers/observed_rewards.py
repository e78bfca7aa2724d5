"""What finished trials of an Optuna study teach: one standardized reward each, more is better."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.samplers.coordinates import Array

INFORMATIVE_STATES = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of the trials that teach something; a failed one counts as if it had never been."""


def standardized_rewards(trials: Sequence[FrozenTrial], *, direction: StudyDirection) -> Array:
    """Return the trials' rewards with mean 0 and standard deviation 1 (all 0 where they do not differ).

    Rewards worse than the median are cut off as far below it as the best one is above: a diverged trial must not
    stretch the scale on which the good ones differ. A pruned trial has its last value, but at most the median of the
    complete ones, since it was worse than its peers; without a value it counts among the worst, and so does an
    infinitely bad one.

    Args:
        trials: Complete or pruned ones, ``n``.
        direction: Of the study.

    Returns:
        Finite, shape ``(n,)``.
    """
    sign = 1.0 if direction is StudyDirection.MAXIMIZE else -1.0
    values = np.array([-math.inf if each.value is None else sign * each.value for each in trials])
    values[np.isnan(values)] = -math.inf
    is_complete = np.array([each.state is TrialState.COMPLETE for each in trials], dtype=bool)
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

"""An Optuna study's trials as learning curves: what they had reached after how many epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Self

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.samplers.coordinates import Array
from search.samplers.observed_rewards import below_all, total_violation

_N_FIRST = 16  # trials, most of which do not yet gather about the best one
_MOST_QUARTILES = 4.0  # how much further below the best their median may be than their upper quartile
_MOST_SPREADS = 3.0  # below the median, in distances of the median from the best; beyond, only the logarithm counts
_TAIL = 0.1
_MOST_CURVES = 384  # that a model is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A trial's learning curve.

    Attributes:
        params: Its parameters.
        best: The best value so far after so many epochs, by epoch, ascending; more is better. Empty while nothing is
            known.
        is_running: Whether more of it is to come.
    """

    params: Mapping[str, Any]
    best: Mapping[int, float] = field(default_factory=dict)
    is_running: bool = False

    @classmethod
    def of(cls, params: Mapping[str, Any], values: Mapping[int, float], *, is_running: bool = False) -> Self:
        """Return the curve of a training that had these values after so many epochs, ascending; more is better."""
        best = dict(zip(values, accumulate(values.values(), max), strict=True))
        return cls(params=params, best=best, is_running=is_running)

    @property
    def reached(self) -> float:
        """The best value so far; -inf while nothing is known."""
        return max(self.best.values(), default=-math.inf)

    @property
    def n_epochs(self) -> int:
        """How long it is."""
        return max(self.best, default=0)


def learning_curves(
    trials: Sequence[FrozenTrial], *, direction: StudyDirection, horizon: int | None = None
) -> list[Curve]:
    """Return what finished and running trials tell, in their order.

    Intermediate values are those after so many epochs (counted from 0 if any trial has a step 0); a complete trial's
    value is that after its last one, and what it had before counts for no more: the value is what is optimized. One
    without intermediate values is a point at the horizon. Of a trial that failed, or none of whose values is finite,
    nothing else is known but that it is among the worst; one that breaks constraints is worse than all that keep them.

    Args:
        trials: With at least one parameter each.
        direction: Of the study.
        horizon: Epochs of a full training, >= 1; the longest epoch of all, if that is more or if it is None.
    """
    sign = 1.0 if direction is StudyDirection.MAXIMIZE else -1.0
    shift = 1 if any(0 in each.intermediate_values for each in trials) else 0
    longest = max((max(each.intermediate_values) + shift for each in trials if each.intermediate_values), default=1)
    longest = max(longest, horizon or 1)
    found = [_curve(each, sign=sign, shift=shift, longest=longest) for each in trials]
    worst = min((next(iter(each.best.values())) for each in found if each.best), default=0.0)
    found = [
        each if each.best or each.is_running else Curve(params=each.params, best={longest: worst}) for each in found
    ]
    violations = [total_violation(each) for each in trials]
    if not any(violations):
        return found
    kept = [each.reached for each, broken in zip(found, violations, strict=True) if each.best and not broken]
    return [
        Curve(params=each.params, best={longest: below_all(kept, broken)}) if broken else each
        for each, broken in zip(found, violations, strict=True)
    ]


def _curve(trial: FrozenTrial, *, sign: float, shift: int, longest: int) -> Curve:
    if trial.state is TrialState.FAIL:
        return Curve(params=trial.params)
    values = {step + shift: sign * value for step, value in sorted(trial.intermediate_values.items())}
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        reached = sign * trial.value
        values = {epoch: min(value, reached) for epoch, value in values.items()}
        values[max(values, default=longest)] = reached
    finite = {epoch: value for epoch, value in values.items() if math.isfinite(value)}
    return Curve.of(trial.params, finite, is_running=trial.state is TrialState.RUNNING)


def excerpt(curves: Sequence[Curve]) -> list[int]:
    """Return the indices of what a model is shown, ascending.

    These are all curves, or of many the first known, the running, the best and, of the others, the most recent.

    Args:
        curves: In the order of their trials.
    """
    if len(curves) <= _MOST_CURVES:
        return list(range(len(curves)))
    first = [index for index, each in enumerate(curves) if each.best][:_N_FIRST]
    by_value = sorted(range(len(curves)), key=lambda index: (not curves[index].is_running, -curves[index].reached))
    chosen = {*first, *by_value[: _MOST_CURVES // 2]}
    others = [index for index in reversed(range(len(curves))) if index not in chosen]
    chosen.update(others[: _MOST_CURVES - len(chosen)])
    return sorted(chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The unit in which a model sees rewards: they have mean 0 and standard deviation 1, and no outliers below.

    What an outlier is follows from how far the median is below the best: that of all trials, or of the first ones if it
    is further. Later trials gather about the best; measured by them, all the rest would be outliers, between which the
    model would see next to no difference. Where most of the first trials are disasters, their upper quartile limits it.

    Attributes:
        best: What is 0 before standardizing.
        spread: That distance, > 0.
        mean: Of the points, before standardizing.
        deviation: Likewise, > 0.
    """

    best: float
    spread: float
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, curves: Sequence[Curve], values: Array) -> Scale:
        """Return the scale of points.

        Args:
            curves: In the order of their trials; at least one with a value.
            values: Of the points, shape ``(n,)``, n >= 1.
        """
        reached = [each.reached for each in curves if each.best]
        best = max(reached)
        first_median, first_quartile = (best - float(np.quantile(reached[:_N_FIRST], each)) for each in (0.5, 0.75))
        spread = max(best - float(np.median(reached)), min(first_median, _MOST_QUARTILES * first_quartile))
        scale = cls(best=best, spread=spread if spread > 0.0 else (best - min(reached)) or 1.0)
        raw = scale.standardized(values)
        return cls(best=best, spread=scale.spread, mean=float(raw.mean()), deviation=float(raw.std()) or 1.0)

    @property
    def unit(self) -> float:
        """What one of this unit is in the values' own, > 0; outliers aside."""
        return self.spread * self.deviation

    def standardized(self, values: Array) -> Array:
        """Return values in this unit, shape ``(n,)``."""
        relative = (values - self.best) / self.spread
        floor = -1.0 - _MOST_SPREADS
        below = np.maximum(floor - relative, 0.0)
        relative = np.where(below > 0.0, floor - _TAIL * np.log1p(below), relative)
        standardized: Array = (relative - self.mean) / self.deviation
        return standardized

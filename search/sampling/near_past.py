"""Points near the good ones of earlier studies, as often as these studies agree with the trials of the present one.

What an earlier study is worth here is measured, not believed: from its trials the present ones are predicted, each by
its nearest neighbours' mean rank, and the rank correlation of prediction and reward, less what chance alone gives, is
its *agreement*. Of the trials, a share of agreement x fading looks near one of its good trials; after n trials the
fading is 10 / (10 + n). So a study that misleads is asked hardly ever, and one that helps less and less, as the present
one knows more.

Source: the weights by ranking agreement are in the spirit of Feurer et al., "Practical transfer learning for Bayesian
optimization" (RGPE), arXiv 1802.02219.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from search.comparable_rewards import Observation
from search.past import PastObservation
from search.rank_correlation import rank_correlation
from search.sampling.expected import completed
from search.search_space import Choices, Dimension, Hyperparameters, SearchSpace, Value
from search.study_definition import Direction

START_UP_TRIALS = 8
"""Finished trials of the present study before an earlier one can agree with them."""

_FADING_TRIALS = 10
_MOST_COMPARED = 256  # of the present study's trials, the most recent ones
_N_NEIGHBOURS = 5
_GOOD = 0.8  # quality from which on a trial of an earlier study is good
_STEP = 0.1  # standard deviation of the distance to a good trial, as a share of the range
_UNLIKE = 0.5  # distance between two values of a choice, or between a value and none, as a share of the range

_Matrix = NDArray[np.float64]


def near_past(
    proposed: Hyperparameters,
    *,
    studies: Sequence[Sequence[PastObservation]],
    observations: Callable[[], Sequence[Observation]],
    direction: Direction,
    declared: SearchSpace,
    box: SearchSpace,
    number: int,
    trial_seed: int,
) -> tuple[dict[str, Value], str] | None:
    """Return a point near a good trial of an earlier study and that trial's origin, or None for the proposal itself.

    Args:
        proposed: What the stage's sampler proposes; dimensions that the earlier trial does not have keep its values.
        studies: What is kept of each earlier study.
        observations: Gives the present study's finished trials, in any order; asked only if it matters.
        direction: Whether more of their reward is better.
        declared: The study's ranges, in whose widths distances are measured.
        box: The stage's ranges; the point lies inside.
        number: Of the trial, from 0.
        trial_seed: In ``[0, 2**31)``, this trial's own.
    """
    random = np.random.default_rng([trial_seed, 2])  # another stream than the sampler's and the priors'
    needed = random.random() * (_FADING_TRIALS + number) / _FADING_TRIALS
    if not studies or needed >= 1.0 or len(known := observations()) < START_UP_TRIALS:
        return None
    agreements = [agreement(study, known, direction=direction, space=declared) for study in studies]
    if needed >= max(agreements):
        return None
    study = studies[_drawn(agreements, random)]
    good = [
        each for each in study if each.may_be_best and each.quality >= _GOOD and _lies_in(box, each.hyperparameters)
    ]
    if not good:
        return None
    chosen = good[_drawn([each.quality for each in good], random)]
    moved = {
        name: _moved(box[name], value, step=float(random.normal(0.0, _STEP)))
        for name, value in chosen.hyperparameters.items()
    }
    units = dict(zip(box.names, random.random(len(box)).tolist(), strict=True))
    return completed(box, moved, proposed, units=units), f"near {chosen.origin}"


def agreement(
    study: Sequence[PastObservation], observations: Sequence[Observation], *, direction: Direction, space: SearchSpace
) -> float:
    """Return how well an earlier study predicts the present one, in ``[0, 1]``; chance alone mostly gives 0.

    Args:
        study: What is kept of the earlier one, at least one trial.
        observations: The present one's finished trials, at least two.
        direction: Whether more reward is better.
        space: In whose ranges' widths distances are measured.
    """
    compared = sorted(observations, key=lambda each: each.number)[-_MOST_COMPARED:]
    squared: _Matrix = np.zeros((len(compared), len(study)))
    for name in sorted({name for each in study for name in each.hyperparameters}):
        here = _coordinates(space[name], [each.hyperparameters for each in compared])
        there = _coordinates(space[name], [each.hyperparameters for each in study])
        if isinstance(space[name].range, Choices):
            distance = np.where(here[:, None] == there[None, :], 0.0, _UNLIKE)
        else:
            distance = np.abs(here[:, None] - there[None, :])
        squared += np.where(np.isnan(distance), _UNLIKE, distance) ** 2
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :_N_NEIGHBOURS]
    predicted = np.array([each.quality for each in study])[nearest].mean(axis=1)
    rewards = [direction.sign * each.reward for each in compared]
    return max(0.0, rank_correlation(predicted.tolist(), rewards) - 1.0 / math.sqrt(len(compared) - 1))


def _coordinates(dimension: Dimension, points: Sequence[Hyperparameters]) -> _Matrix:
    """Return one dimension of each point, NaN where it has none: the position in the range, of a choice its index.

    The extra zero lies beside the range.
    """
    return np.array([_coordinate(dimension, each.get(dimension.name)) for each in points])


def _coordinate(dimension: Dimension, value: Value | None) -> float:
    range_, limits = dimension.range, dimension.limits
    if value is None:
        return math.nan
    if value == 0 and dimension.zero_share > 0.0:
        return -_UNLIKE
    if isinstance(range_, Choices):
        assert isinstance(limits, Choices)
        return float(limits.values.index(value))
    assert not isinstance(value, str)
    low, high = range_.scale(range_.low), range_.scale(range_.high)
    return (range_.scale(value) - low) / (high - low)


def _drawn(weights: Sequence[float], random: np.random.Generator) -> int:
    shares = np.array(weights) / math.fsum(weights)
    return int(random.choice(len(weights), p=shares))


def _lies_in(box: SearchSpace, values: Hyperparameters) -> bool:
    return all(box[name].contains(value) for name, value in values.items())


def _moved(dimension: Dimension, value: Value, *, step: float) -> Value:
    """Return a value a step away, in shares of the range, never beyond its edges; a choice and a zero stay."""
    if isinstance(dimension.range, Choices) or (value == 0 and dimension.zero_share > 0.0):
        return value
    return dimension.from_unit(min(max(dimension.to_unit(value) + step, dimension.zero_share), 1.0))

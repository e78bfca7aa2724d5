"""How far priors may be trusted after the trials so far: the more, the better the trials fit them.

Each prior is judged by itself, and all of them together: where several are wrong, one that matters little has too
little evidence against itself, and shares the fate of the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.comparable_rewards import Observation
from search.priors import ChoicePrior
from search.rank_correlation import rank_correlation
from search.search_space import Choices, Dimension, SearchSpace, Value
from search.study_definition import Direction

START_UP_TRIALS = 5
"""Finished trials, in which the dimension was active, before they say anything of its prior."""

MOST_CHECKED = 256
"""Trials beyond which an excerpt is enough."""

_LEAST_EXPECTED = -8.0  # of a log density in the sum of all: no prior speaks louder than 4 standard deviations
_DECIMALS = 9  # of that sum, so that equal ones stay equal


def prior_trust(space: SearchSpace, observations: Sequence[Observation], direction: Direction) -> dict[str, float]:
    """Return by how much each prior counts, by name of its dimension, from 1 for fully to 0 for not at all.

    It is half where the trials that a prior expects to be good are neither better nor worse, and moves with the rank
    correlation of its density and the reward, to all or nothing at one standard error. No prior counts more than all of
    them together, by the product of their densities; one of which fewer than `START_UP_TRIALS` tell counts fully.

    Args:
        space: Ranges that hold all observations. Dimensions without a prior are left out of the answer.
        observations: Finished trials, in any order. Those without a dimension, and extra zeros, say nothing of it.
        direction: Whether more reward is better.
    """
    dimensions = [each for each in space if each.prior is not None]
    rewards = np.array([direction.sign * each.reward for each in observations])
    expected = np.array(
        [[_log_density(each, trial.hyperparameters.get(each.name)) for each in dimensions] for trial in observations]
    ).reshape(len(observations), len(dimensions))
    together = _trust(_joint(np.maximum(expected, _LEAST_EXPECTED)), rewards)
    return {
        each.name: min(_trust(column, rewards), together) if _is_judged(column) else 1.0
        for each, column in zip(dimensions, expected.T, strict=True)
    }


def _trust(expected: NDArray[np.float64], rewards: NDArray[np.float64]) -> float:
    """Return how well the trials fit what was expected of them; NaN stands for nothing."""
    if not _is_judged(expected):
        return 1.0
    says = ~np.isnan(expected)
    correlation = rank_correlation(expected[says].tolist(), rewards[says].tolist())
    return min(max(0.5 + 0.5 * correlation * math.sqrt(says.sum() - 1), 0.0), 1.0)


def _is_judged(expected: NDArray[np.float64]) -> bool:
    return int((~np.isnan(expected)).sum()) >= START_UP_TRIALS


def _joint(expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each trial's sum, NaN where nothing was expected; what says nothing counts as its dimension's mean."""
    says = ~np.isnan(expected)
    means = np.where(says, expected, 0.0).sum(axis=0) / np.maximum(says.sum(axis=0), 1)
    sums: NDArray[np.float64] = np.where(says, expected, means).sum(axis=1).round(_DECIMALS)
    return np.where(says.any(axis=1), sums, np.nan)


def _log_density(dimension: Dimension, value: Value | None) -> float:
    """Return the logarithm of the prior's density relative to its mode's, of a choice that of its share."""
    prior, range_ = dimension.prior, dimension.range
    if value is None or (value == 0 and dimension.zero_share > 0.0):
        return math.nan
    if isinstance(prior, ChoicePrior):
        share = prior.share(value)
        return math.log(share) if share > 0.0 else -math.inf
    assert prior is not None
    assert not isinstance(range_, Choices)
    assert not isinstance(value, str)
    return -0.5 * ((range_.scale(value) - range_.scale(prior.mean)) / prior.spread) ** 2

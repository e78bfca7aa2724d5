"""How far a prior may be trusted after the trials so far: fully, until they speak against it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from search.comparable_rewards import Observation
from search.priors import ChoicePrior
from search.rank_correlation import rank_correlation
from search.search_space import Choices, Dimension, Value
from search.study_definition import Direction

START_UP_TRIALS = 5
"""Finished trials, in which the dimension was active, before they can speak against its prior."""


MOST_CHECKED = 256
"""Trials beyond which an excerpt is enough."""


def prior_trust(dimension: Dimension, observations: Sequence[Observation], direction: Direction) -> float:
    """Return by how much a prior counts, from 1 for fully to 0 for not at all.

    Where trials that the prior expects to be good are good or no different, it is 1; it falls with the rank correlation
    of expectation and reward, to 0 at one standard error below none.

    Args:
        dimension: One with a prior.
        observations: Finished trials, in any order; those without the dimension, and extra zeros, say nothing.
        direction: Whether more reward is better.
    """
    pairs = [
        (_expectation(dimension, value), direction.sign * each.reward)
        for each in observations
        if (value := each.hyperparameters.get(dimension.name)) is not None
        and not (value == 0 and dimension.zero_share > 0.0)
    ]
    if len(pairs) < START_UP_TRIALS:
        return 1.0
    correlation = rank_correlation([expected for expected, _ in pairs], [reward for _, reward in pairs])
    return min(max(1.0 + correlation * math.sqrt(len(pairs) - 1), 0.0), 1.0)


def _expectation(dimension: Dimension, value: Value) -> float:
    """Return how good the prior expects a value to be, on a scale of its own; more is better."""
    prior, range_ = dimension.prior, dimension.range
    if isinstance(prior, ChoicePrior):
        return prior.share(value)
    assert prior is not None
    assert not isinstance(range_, Choices)
    assert not isinstance(value, str)
    return -abs(range_.scale(value) - range_.scale(prior.mean))

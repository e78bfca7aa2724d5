"""Proposing the next trial's hyperparameters inside a stage's box.

Every proposal is a function of what is known when it is made, and of nothing else: samplers are built anew for each
trial, seeded from the study and the trial, so that a resumed study asks for exactly what an uninterrupted one would.
"""

from __future__ import annotations

from search.sampling.expected import completed
from search.sampling.near_past import near_past
from search.sampling.outside import outside_point, point_outside
from search.sampling.prior_trust import MOST_CHECKED
from search.sampling.propose import (
    MODEL_SAMPLERS,
    MOST_OBSERVATIONS,
    SAMPLER_NAMES,
    START_UP_TRIALS,
    model_ranges,
    propose,
    whose_turn,
)
from search.sampling.quasi_random import EXPLORED

__all__ = [
    "EXPLORED",
    "MODEL_SAMPLERS",
    "MOST_CHECKED",
    "MOST_OBSERVATIONS",
    "SAMPLER_NAMES",
    "START_UP_TRIALS",
    "completed",
    "model_ranges",
    "near_past",
    "outside_point",
    "point_outside",
    "propose",
    "whose_turn",
]

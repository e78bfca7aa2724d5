"""Quasi-random search: one scrambled Sobol sequence per stage, one coordinate per dimension.

Any number of points in a row fills every dimension evenly; choices get equal shares, an ``or_zero`` range its share of
zeros. An inactive dimension keeps its coordinate, so that the others stay as even as they are.

Source: Owen, "Scrambling Sobol' and Niederreiter-Xing points", J. Complexity 14 (1998).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import qmc

from search.sampling.expected import EVEN_SHARE, expected_point, has_priors
from search.sampling.request import ProposalRequest
from search.search_space import SearchSpace, Value

EVEN, OUTSIDE, EXPLORED = 1, 2, 3
"""Scramblings beside a stage's own, so that no two sequences are alike: of the trials that ignore priors, of the share
outside the ranges, of what a portfolio explores. (0 would be the stage's own: NumPy's seed sequences end in zeros.)
"""


def quasi_random_point(request: ProposalRequest) -> dict[str, Value]:
    """Return point `index_in_stage` of the stage's sequence; with priors there are two, of which one ignores them."""
    box, seed, index = request.box, request.stage_seed, request.index_in_stage
    if not has_priors(box):
        return sobol_point(box, seed=seed, index=index)
    first = seed / 2**31  # which one is the first that ignores them: no place in the stage is favoured
    n_even, n_after = (math.floor(first + each * EVEN_SHARE) for each in (index, index + 1))
    if n_after > n_even:
        return sobol_point(box, seed=(seed, EVEN), index=n_even)
    return expected_point(request, sobol_units(box, seed=seed, index=index - n_even))


def sobol_point(space: SearchSpace, *, seed: int | Sequence[int], index: int) -> dict[str, Value]:
    """Return point `index`, from 0, of the sequence that `seed` scrambles; it knows of no prior."""
    return space.from_units(sobol_units(space, seed=seed, index=index))


def sobol_units(space: SearchSpace, *, seed: int | Sequence[int], index: int) -> dict[str, float]:
    """Return the unit coordinates of point `index`, from 0, of the sequence that `seed` scrambles."""
    sequence = qmc.Sobol(len(space), scramble=True, seed=np.random.default_rng(seed))
    if index > 0:
        sequence.fast_forward(index)
    return dict(zip(space.names, sequence.random(1)[0].tolist(), strict=True))

"""Quasi-random search: one scrambled Sobol sequence per stage, one coordinate per dimension.

Any number of points in a row fills every dimension evenly; choices get equal shares, an ``or_zero`` range its share of
zeros. An inactive dimension keeps its coordinate, so that the others stay as even as they are.

Source: Owen, "Scrambling Sobol' and Niederreiter-Xing points", J. Complexity 14 (1998).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import qmc

from search.sampling.request import ProposalRequest
from search.search_space import SearchSpace, Value


def quasi_random_point(request: ProposalRequest) -> dict[str, Value]:
    """Return point `index_in_stage` of the stage's sequence, whatever is known already."""
    return sobol_point(request.box, seed=request.stage_seed, index=request.index_in_stage)


def sobol_point(space: SearchSpace, *, seed: int | Sequence[int], index: int) -> dict[str, Value]:
    """Return point `index`, from 0, of the sequence that `seed` scrambles."""
    sequence = qmc.Sobol(len(space), scramble=True, seed=np.random.default_rng(seed))
    if index > 0:
        sequence.fast_forward(index)
    units = sequence.random(1)[0]
    return space.from_units(dict(zip(space.names, units.tolist(), strict=True)))

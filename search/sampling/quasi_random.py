"""Quasi-random search: one scrambled Sobol sequence per stage, one coordinate per dimension.

Any number of points in a row fills every dimension evenly; choices get equal shares, an ``or_zero`` range its share of
zeros. An inactive dimension keeps its coordinate, so that the others stay as even as they are.

Source: Owen, "Scrambling Sobol' and Niederreiter-Xing points", J. Complexity 14 (1998).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import qmc

from search.sampling.request import ProposalRequest
from search.search_space import Value


def quasi_random_point(request: ProposalRequest) -> dict[str, Value]:
    """Return point `index_in_stage` of the stage's sequence, whatever is known already."""
    sequence = qmc.Sobol(len(request.box), scramble=True, seed=np.random.default_rng(request.stage_seed))
    if request.index_in_stage > 0:
        sequence.fast_forward(request.index_in_stage)
    units = sequence.random(1)[0]
    return request.box.from_units(dict(zip(request.box.names, units.tolist(), strict=True)))

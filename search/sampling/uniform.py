"""Random search: every dimension uniform on its own scale, but for priors."""

from __future__ import annotations

import numpy as np

from search.sampling.expected import EVEN_SHARE, expected_point, has_priors
from search.sampling.request import ProposalRequest
from search.search_space import Value


def uniform_point(request: ProposalRequest) -> dict[str, Value]:
    """Return a point drawn with the trial's own seed, whatever is known already."""
    random = np.random.default_rng(request.trial_seed)
    units = dict(zip(request.box.names, random.random(len(request.box)).tolist(), strict=True))
    if not has_priors(request.box) or random.random() < EVEN_SHARE:
        return request.box.from_units(units)
    return expected_point(request, units)

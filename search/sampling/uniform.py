"""Random search: every dimension uniform on its own scale, but for priors."""

from __future__ import annotations

import numpy as np

from search.sampling.expected import expected_point
from search.sampling.request import ProposalRequest
from search.search_space import Value


def uniform_point(request: ProposalRequest) -> dict[str, Value]:
    """Return a point drawn with the trial's own seed, whatever is known already."""
    units = np.random.default_rng(request.trial_seed).random(len(request.box))
    return expected_point(request, dict(zip(request.box.names, units.tolist(), strict=True)))

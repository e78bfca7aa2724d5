"""How far two orders agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's coefficient of two lists of equal length, in ``[-1, 1]``; 0 if all of either are equal."""
    ranks = [rankdata(each) for each in (one, other)]
    spreads = [float(np.std(each)) for each in ranks]
    if not (len(one) > 1 and min(spreads) > 0.0):
        return 0.0
    covariance = float(np.mean((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())))
    return covariance / (spreads[0] * spreads[1])

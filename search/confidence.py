"""Confidence intervals of rewards over few seeds.

Two or three seeds say next to nothing of a configuration's own spread. So, as in the elimination, one standard
deviation between seeds is taken for all contenders: the variances of their runs, pooled, with as many degrees of
freedom as there are runs beyond each contender's first. A mean over n runs is then within t s / sqrt(n) of the true
one, with a quantile t of Student's distribution. Where every contender has a single run there is no interval: nothing
is known of the noise. Nor is there where the runs of each gave the very same reward, as an accuracy on few images may:
no two of them tell that there is no noise at all.

The winner is chosen for its mean, which luck has helped: of k equally good contenders, the largest of k errors is its
own. The quantile therefore leaves a tail q on each side with ``(1 - q)**k - q**k = confidence``: the chance that the
largest of k independent errors stays within its bounds. For one or two contenders that is the usual interval; for more
it is wider, and each interval by itself holds more often than it says.

Source: Student, "The probable error of a mean", Biometrika 6 (1908); the largest of k errors as in Benjamini,
Hechtlinger and Stark, "Confidence intervals for selected parameters", arXiv 1906.00505.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

CONFIDENCE = 0.9
"""With which an interval holds the mean reward over all seeds."""


def confidence_intervals(rewards: Mapping[int, Sequence[float]]) -> dict[int, tuple[float, float]]:
    """Return the interval of each contender's mean reward over all seeds, ``(low, high)``.

    Args:
        rewards: Contender to its rewards; one with a reward that is not finite (its run diverged or failed) has no
            interval, and its rewards tell nothing of the others.

    Returns:
        Empty while nothing is known of the noise.
    """
    from scipy import stats  # who only shows intervals need not wait for it

    finite = {key: runs for key, runs in rewards.items() if runs and all(map(math.isfinite, runs))}
    deviation = seed_deviation(finite.values())
    if deviation is None:
        return {}
    freedom = sum(len(runs) - 1 for runs in finite.values())
    quantile = float(stats.t.isf(tail_share(len(finite)), df=freedom))
    found = {}
    for key, runs in finite.items():
        mean, margin = statistics.fmean(runs), quantile * deviation / math.sqrt(len(runs))
        found[key] = (mean - margin, mean + margin)
    return found


def seed_deviation(runs: Iterable[Sequence[float]]) -> float | None:
    """Return the standard deviation of the reward between seeds, pooled, > 0.

    None if no contender has two finite runs, or those of each are equal.
    """
    found = repeated(runs)
    if not found:
        return None
    squares = sum(statistics.variance(each) * (len(each) - 1) for each in found)
    return math.sqrt(squares / sum(len(each) - 1 for each in found)) or None


def repeated(runs: Iterable[Sequence[float]]) -> list[Sequence[float]]:
    """Return the rewards of the contenders that have two or more, all finite: they tell of the noise."""
    return [each for each in runs if len(each) > 1 and all(map(math.isfinite, each))]


@cache
def tail_share(n_contenders: int) -> float:
    """Return the share in each tail of an interval that holds for the best of so many, >= 1, with `CONFIDENCE`."""
    from scipy import optimize

    return float(optimize.brentq(lambda tail: (1.0 - tail) ** n_contenders - tail**n_contenders - CONFIDENCE, 0.0, 0.5))

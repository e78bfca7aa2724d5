"""Successive elimination: which configurations are still worth another run with another seed.

Configurations run in rounds, each survivor once a round with a seed of its own. After n rounds a configuration goes if
another one's mean reward is better by more than a one-sided t-bound on the difference, with the variance pooled over
those that still run. The chance of an error is shared out over the k - 1 rivals and over the rounds,
``risk / (n (n - 1) (k - 1))`` each (these shares sum to at most `risk` over n = 2, 3, …): with normal noise of one
variance, the truly best configuration is dropped with probability at most `risk`, however long it goes on.

Source: Even-Dar, Mannor, Mansour, "Action elimination and stopping conditions for the multi-armed bandit and
reinforcement learning problems", JMLR 7 (2006), with t-bounds in place of Hoeffding's, since rewards have no known
range.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from scipy import stats

from search.study_definition import Direction


def survivors(rewards: Mapping[int, Sequence[float]], *, direction: Direction, risk: float) -> tuple[int, ...]:
    """Return the configurations that stay, best mean first.

    A run that diverged (NaN or infinite reward) drops its configuration at once, unless every one has such a run.

    Args:
        rewards: Configuration to its rewards, one a round. Those with fewer rewards than the longest were dropped in
            an earlier round and stay out; so call it between rounds only.
        direction: Whether more is better.
        risk: Chance in ``(0, 1)`` of ever dropping the truly best configuration.
    """
    assert 0.0 < risk < 1.0, f"`0 < risk < 1` must hold, but got {risk!r}"
    n_runs = max((len(runs) for runs in rewards.values()), default=0)
    running = [key for key, runs in rewards.items() if len(runs) == n_runs]
    stable = [key for key in running if all(math.isfinite(reward) for reward in rewards[key])]
    if n_runs == 0 or not stable:
        return tuple(running)
    means = {key: direction.sign * statistics.fmean(rewards[key]) for key in stable}
    ranked = sorted(stable, key=lambda key: (-means[key], key))
    if n_runs < 2 or len(ranked) == 1:
        return tuple(ranked)
    margin = _margin([rewards[key] for key in stable], n_rivals=len(rewards) - 1, risk=risk)
    return tuple(key for key in ranked if not means[ranked[0]] - means[key] > margin)


def _margin(runs: Sequence[Sequence[float]], *, n_rivals: int, risk: float) -> float:
    """Return the difference of two means that noise exceeds with the probability that one comparison may spend.

    Infinite if the runs of each are equal, as accuracies on few images may be: that is no proof of no noise.
    """
    n_runs = len(runs[0])
    pooled_variance = statistics.fmean(statistics.variance(each) for each in runs)
    if not pooled_variance > 0.0:
        return math.inf
    share = risk / (n_runs * (n_runs - 1) * n_rivals)
    quantile = float(stats.t.isf(share, df=len(runs) * (n_runs - 1)))
    return quantile * math.sqrt(pooled_variance * 2.0 / n_runs)

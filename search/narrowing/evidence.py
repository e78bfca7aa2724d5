"""What the finished trials say about one dimension, in tests that look at ranks only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from search.comparable_rewards import Observation
from search.study_definition import Direction

BEST_SHARE = 0.25
MIN_BEST = 5  # fewer best trials say nothing about where the good region ends


def ranked(observations: Sequence[Observation], direction: Direction) -> list[Observation]:
    """Return the observations from best to worst; equal ones in the order of their numbers, diverged ones last."""
    return sorted(observations, key=lambda each: (each.diverged, -direction.sign * each.reward, each.number))


def n_best(observations: Sequence[Observation]) -> int:
    """Return how many of the observations count as best: a quarter, at least `MIN_BEST`.

    None that diverged, and none that breaks a constraint.
    """
    n_fit = sum(observation.may_be_best for observation in observations)
    return min(max(math.ceil(BEST_SHARE * len(observations)), MIN_BEST), n_fit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Where trials lie on one dimension's scale.

    Attributes:
        best: The best trials.
        rest: The others that did not diverge.
        diverged: Those that diverged.
    """

    best: tuple[float, ...]
    rest: tuple[float, ...]
    diverged: tuple[float, ...]

    @property
    def n_trials(self) -> int:
        """All of them together."""
        return len(self.best) + len(self.rest) + len(self.diverged)

    def p_value(self) -> float:
        """Chance that the best and all others lie this differently if the dimension does not matter.

        Two-sample Kolmogorov-Smirnov test, two-sided.
        """
        return float(stats.ks_2samp(self.best, (*self.rest, *self.diverged)).pvalue)

    def edge_p_value(self, edge_positions: tuple[float, float]) -> tuple[int, float]:
        """Return how many of the best lie in a strip, and the chance of so many if the strip were nothing special.

        Hypergeometric tail: what is expected of the best is the share in the strip of all trials that did not diverge,
        since a sampler may have favoured the strip already, and divergence at the far end must not count for this one.

        Args:
            edge_positions: The strip's ends on the scale, inclusive.
        """
        low, high = edge_positions
        n_inside_best = sum(low <= position <= high for position in self.best)
        n_inside = n_inside_best + sum(low <= position <= high for position in self.rest)
        tail = stats.hypergeom.sf(n_inside_best - 1, len(self.best) + len(self.rest), n_inside, len(self.best))
        return n_inside_best, float(tail)


def worse_p_value(candidate: Sequence[float], reference: Sequence[float]) -> float:
    """Chance that `candidate` falls this far behind `reference` if both are alike (Mann-Whitney U, one-sided).

    Args:
        candidate: Rewards, larger = better.
        reference: Likewise.
    """
    return float(stats.mannwhitneyu(candidate, reference, alternative="less").pvalue)

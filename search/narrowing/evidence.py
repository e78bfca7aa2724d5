"""What the finished trials say about one dimension, in tests that look at ranks only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from scipy import stats

from search.comparable_rewards import Observation
from search.search_space import Choices, Dimension, Value
from search.study_definition import Direction

MIN_TRIALS = 12  # fewer say nothing about a dimension
TRIALS_PER_DIMENSION = 4  # fewer say nothing about a region of all of them
BEST_SHARE = 0.25
MIN_BEST = 5  # fewer best trials say nothing about where the good region ends


def ranked(observations: Sequence[Observation], direction: Direction) -> list[Observation]:
    """Return the observations from best to worst; equal ones in the order of their numbers, diverged ones last."""
    return sorted(observations, key=lambda each: (each.diverged, -direction.sign * each.reward, each.number))


def active(trials: Sequence[Observation], name: str) -> list[Observation]:
    """Return the trials in which a dimension is active, in their order."""
    return [each for each in trials if name in each.hyperparameters]


def too_few(trials: Sequence[Observation], *, what: str, n_needed: int = MIN_TRIALS) -> str:
    """Return why there are too few trials to say anything, empty if there are enough.

    Args:
        trials: Finished trials that could tell.
        what: What they have in common, in words: ``lie in the current ranges``.
        n_needed: How many say anything.
    """
    n_fit = sum(each.may_be_best for each in trials)
    if len(trials) < n_needed:
        return f"only {len(trials)} finished trials {what}; {n_needed} are needed"
    if n_fit < MIN_BEST:
        return f"only {n_fit} of {len(trials)} trials that {what} {_fit_words(trials)}; {MIN_BEST} are needed"
    return ""


def _fit_words(trials: Sequence[Observation]) -> str:
    """Return what the trials that may be best did and some of these did not."""
    words = ["did not diverge"] if any(each.diverged for each in trials) else []
    broke = any(not each.diverged and not each.may_be_best for each in trials)
    return " and ".join([*words, "keep the constraints"] if broke else words)


def failure_words(trials: Sequence[Observation]) -> str:
    """Return what became of trials none of which may be best."""
    words = ["diverged"] if any(each.diverged for each in trials) else []
    broke = any(not each.diverged for each in trials)
    return " or ".join([*words, "broke constraints"] if broke else words)


def leaders(best_first: Sequence[Observation]) -> list[Observation]:
    """Return the best quarter of trials and their equals, none that diverged and none that breaks a constraint."""
    quarter = math.ceil(BEST_SHARE * len(best_first))
    return [each for each in best_first[: _group_of(best_first, quarter)[1]] if each.may_be_best]


def n_best(observations: Sequence[Observation]) -> int:
    """Return how many of the observations count as best: a quarter, at least `MIN_BEST`.

    None that diverged, and none that breaks a constraint.
    """
    n_fit = sum(observation.may_be_best for observation in observations)
    return min(max(math.ceil(BEST_SHARE * len(observations)), MIN_BEST), n_fit)


def n_best_apart(best_first: Sequence[Observation]) -> int:
    """Return how many count as best where equal rewards stay together, 0 if too many are equal.

    A quarter, or as near to it as equal rewards allow: at least `MIN_BEST`, and not all.

    Args:
        best_first: At least `MIN_TRIALS`, of which `MIN_BEST` neither diverged nor break a constraint.
    """
    count = n_best(best_first)
    fitting = [each for each in _group_of(best_first, count) if MIN_BEST <= each < len(best_first)]
    return min(fitting, key=lambda each: abs(each - count), default=0)


def too_equal(trials: Sequence[Observation]) -> str:
    """Return why the best of trials, best first, cannot be told from the rest, empty if they can."""
    if n_best_apart(trials):
        return ""
    start, end = _group_of(trials, n_best(trials))
    return (
        f"too many rewards are equal, those of {end - start} of {len(trials)} trials: the best cannot be told from the "
        "rest"
    )


def _group_of(best_first: Sequence[Observation], count: int) -> tuple[int, int]:
    """Return where the trials that equal the last of the first `count` begin and end; twice `count` if none follows."""
    last, following = best_first[count - 1], best_first[count : count + 1]
    if not any(_equal(last, each) for each in following):
        return count, count
    start = next(index for index, each in enumerate(best_first) if _equal(last, each))
    end = next((index for index in range(count, len(best_first)) if not _equal(last, best_first[index])), None)
    return start, len(best_first) if end is None else end


def _equal(one: Observation, other: Observation) -> bool:
    return (one.diverged, one.may_be_best, one.reward) == (other.diverged, other.may_be_best, other.reward)


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Where trials lie on one dimension's scale.

    Attributes:
        best: The best trials.
        rest: The others that did not diverge.
        diverged: Those that diverged.
        ranks: Of all, in this order, 1 the best; equal rewards share the mean of theirs, and so do diverged trials.
    """

    best: tuple[float, ...]
    rest: tuple[float, ...]
    diverged: tuple[float, ...]
    ranks: tuple[float, ...]

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

    def share_better(self, positions: tuple[float, float], others: tuple[float, float]) -> float:
        """Return the share of pairs of trials, one of each of two strips, of which the first strip's is the better one.

        Equal ones count half (Mann-Whitney U over the number of pairs), diverged ones as the worst; 0 without a pair.

        Args:
            positions: The first strip's ends on the scale, inclusive.
            others: The second strip's, likewise.
        """
        where, ranks = np.array([*self.best, *self.rest, *self.diverged]), np.array(self.ranks)
        one, other = (ranks[(where >= low) & (where <= high)] for low, high in (positions, others))
        if not len(one) or not len(other):
            return 0.0
        better, equal = one[:, None] < other[None, :], one[:, None] == other[None, :]
        return float(np.mean(better + 0.5 * equal))


def positions_of(best_first: Sequence[Observation], dimension: Dimension) -> Positions:
    """Return where trials lie, best first and diverged ones last; the best can be told from the rest (`too_equal`).

    Args:
        best_first: All with a number of that dimension's scale.
        dimension: A numeric one.
    """
    assert not isinstance(dimension.range, Choices)
    scale = dimension.range.scale
    where = [scale(float(each.hyperparameters[dimension.name])) for each in best_first]
    count, n_finite = n_best_apart(best_first), sum(not each.diverged for each in best_first)
    return Positions(
        best=tuple(where[:count]),
        rest=tuple(where[count:n_finite]),
        diverged=tuple(where[n_finite:]),
        ranks=tuple(stats.rankdata(_levels(best_first)).tolist()),
    )


def _levels(best_first: Sequence[Observation]) -> list[int]:
    """Return a number for each trial that grows where the reward falls; all diverged ones have the same."""
    falls = (not (one.diverged and other.diverged) and not _equal(one, other) for one, other in pairwise(best_first))
    return [0, *accumulate(map(int, falls))]


def is_zero(value: Value, dimension: Dimension) -> bool:
    """Whether a value is the extra zero of a range, which has no position on its scale."""
    return dimension.zero_share > 0.0 and value == 0


def worse_p_value(candidate: Sequence[float], reference: Sequence[float]) -> float:
    """Chance that `candidate` falls this far behind `reference` if both are alike (Mann-Whitney U, one-sided).

    Args:
        candidate: Rewards, larger = better.
        reference: Likewise.
    """
    return float(stats.mannwhitneyu(candidate, reference, alternative="less").pvalue)

"""What an ensemble gains over its best member, and how sure that is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
"""With which an interval holds the mean gain over all seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleGain:
    """Gains of ensembles that differ in their seeds only.

    Attributes:
        by_seed: Each ensemble's score less that of its best member, > 0 where the ensemble is better.
        mean: Their mean.
        deviation: Their sample standard deviation; NaN for a single seed.
        low: Lower end of the t-interval of the mean; NaN for a single seed.
        high: Upper end, likewise.
        member_deviation: Sample standard deviation of the members' scores within an ensemble, over all ensembles; NaN
            if none has two members.
        by_left_out: Of a single ensemble, the gain of that of all members but one, for each of them; empty if unknown.
    """

    by_seed: tuple[float, ...]
    mean: float
    deviation: float
    low: float
    high: float
    member_deviation: float = math.nan
    by_left_out: tuple[float, ...] = ()

    @property
    def is_shown(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0.0

    def in_words(self, metric: str) -> str:
        """Report it in a sentence or two.

        Args:
            metric: What the scores are, ``test_acc``, say.
        """
        n = len(self.by_seed)
        gain = f"{abs(self.mean):.4f} {'better' if self.mean >= 0 else 'worse'} than that of its best member"
        if n == 1:
            text = f"{metric} of the ensemble is {gain}; {self._spread_of_one()}"
            differ = f" Its members differ by a standard deviation of {self.member_deviation:.4f}."
            return text if math.isnan(self.member_deviation) else text + differ
        interval = f"95 % interval of the gain {self.low:+.4f} to {self.high:+.4f}"
        spread = f"standard deviation {self.deviation:.4f} over {n} seeds"
        verdict = "" if self.is_shown else " No gain is shown."
        return f"{metric} of an ensemble is on average {gain} ({interval}, {spread}).{verdict}"

    def _spread_of_one(self) -> str:
        if not self.by_left_out:
            return "there is one ensemble: nothing is known of the gain's spread."
        low, high = min(self.by_left_out), max(self.by_left_out)
        verdict = "" if min(low, self.mean) > 0.0 else " No gain is shown."
        return f"without one of its members, each in turn, the gain is {low:+.4f} to {high:+.4f}.{verdict}"


def ensemble_gain(
    *,
    ensembles: Sequence[float],
    members: Sequence[Sequence[float]],
    maximize: bool,
    left_out: Sequence[float] = (),
) -> EnsembleGain:
    """Compare ensembles with their best members.

    The best member is the one with the best score on the very data that the ensemble is measured on: luck has helped to
    choose it, so the gain is rather understated.

    Args:
        ensembles: Score of each seed's ensemble, at least one, finite.
        members: Scores of its members, in the same order, each at least one, on the same data, finite.
        maximize: Whether more is better.
        left_out: Of a single ensemble, the scores of the ensembles of all members but the first, but the second, ….

    Raises:
        ValueError: If there is no ensemble, one has no members or not as many lists of them, a score is not finite, or
            `left_out` does not fit.

    Source:
        Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    if not ensembles or len(ensembles) != len(members) or not all(members):
        raise ValueError(
            "there must be an ensemble, and for each the scores of its members, but got "
            f"{len(ensembles)} ensembles and {[len(each) for each in members]} members."
        )
    if left_out and [len(each) for each in members] != [len(left_out)]:
        raise ValueError(
            f"`left_out` must have a score for each member of a single ensemble, but has {len(left_out)} for "
            f"{[len(each) for each in members]} members."
        )
    scores = [*ensembles, *(score for each in members for score in each), *left_out]
    if not all(map(math.isfinite, scores)):
        raise ValueError(f"scores must be finite, but got {scores!r}.")
    sign = 1.0 if maximize else -1.0

    def gain(ensemble: float, own: Sequence[float]) -> float:
        return sign * ensemble - max(sign * score for score in own)

    gains = tuple(gain(ensemble, own) for ensemble, own in zip(ensembles, members, strict=True))
    mean = statistics.fmean(gains)
    among = _pooled_deviation(members)
    if len(gains) == 1:
        (own,) = members
        return EnsembleGain(
            by_seed=gains,
            mean=mean,
            deviation=math.nan,
            low=math.nan,
            high=math.nan,
            member_deviation=among,
            by_left_out=tuple(gain(each, [*own[:i], *own[i + 1 :]]) for i, each in enumerate(left_out)),
        )
    from scipy import stats  # a second that only who asks for an interval waits

    deviation = statistics.stdev(gains)
    quantile = float(stats.t.isf((1.0 - CONFIDENCE) / 2.0, df=len(gains) - 1))
    margin = quantile * deviation / math.sqrt(len(gains))
    return EnsembleGain(
        by_seed=gains,
        mean=mean,
        deviation=deviation,
        low=mean - margin,
        high=mean + margin,
        member_deviation=among,
    )


def _pooled_deviation(groups: Sequence[Sequence[float]]) -> float:
    """Return the standard deviation within groups, each by its degrees of freedom; NaN if none has two numbers."""
    n_free = sum(len(each) - 1 for each in groups)
    if n_free == 0:
        return math.nan
    return math.sqrt(sum((len(each) - 1) * statistics.variance(each) for each in groups if len(each) > 1) / n_free)

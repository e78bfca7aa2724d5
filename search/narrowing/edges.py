"""Best trials that crowd at an edge of a range: it moves out, as far as the hard limits let it, else it is cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.comparable_rewards import Observation
from search.narrowing.evidence import Positions, active, is_zero, positions_of, too_equal, too_few
from search.narrowing.interval import Interval, interval_of
from search.range_text import number_text
from search.search_space import Choices, Dimension

EDGE_STRIP_SHARE = 0.15
CROWDED_BELOW = 0.05
OUTERMOST_SHARE, NEXT_SHARE = 0.1, 0.3  # of the width: how far the very edge reaches, and the strip next to it
OUTWARD_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowding:
    """The edge at which the best trials crowd.

    Attributes:
        side: -1 the lower, +1 the upper, 0 neither.
        n_best: How many of the best lie there.
        p_value: Chance of so many if the strip at the edge were nothing special.
        share_better: How often a trial at the very edge is better than one of the strip next to it, in ``[0, 1]``.
    """

    side: int
    n_best: int
    p_value: float
    share_better: float

    def is_at_limit(self, dimension: Dimension) -> bool:
        """Whether that edge is the hard limit already, so that the optimum may be cut off."""
        assert not isinstance(dimension.range, Choices)
        assert not isinstance(dimension.limits, Choices)
        if self.side < 0:
            return dimension.range.low == dimension.limits.low
        return self.side > 0 and dimension.range.high == dimension.limits.high

    @property
    def figures(self) -> dict[str, float]:
        """What is recorded of it; empty if no edge is crowded."""
        if not self.side:
            return {}
        return {"n_at_edge": float(self.n_best), "edge_p_value": self.p_value, "edge_better": self.share_better}

    def words(self, dimension: Dimension) -> str:
        """Return what the reason says of it; empty if no edge is crowded."""
        if not self.side:
            return ""
        assert not isinstance(dimension.limits, Choices)
        edge = "lower" if self.side < 0 else "upper"
        bound = dimension.limits.low if self.side < 0 else dimension.limits.high
        limit = number_text(bound, dimension.limits)
        end = f"but the hard limit {limit} forbids more" if self.is_at_limit(dimension) else "so it moves out"
        return f"; {self.n_best} of the best crowd at the {edge} edge (p = {self.p_value:.2g}), {end}"


NOT_CROWDED = Crowding(side=0, n_best=0, p_value=1.0, share_better=0.0)


def crowding(positions: Positions, current: Interval) -> Crowding:
    """Find the edge at which the best trials crowd; none if both are crowded.

    More of the best lie in the strip at the edge than chance explains, and a trial at the very edge is more often
    better than one a little further inside. The first alone is true of every optimum in that half of the range, the
    more surely the more trials there are.
    """
    found = [each for each in (_at_edge(positions, current, side) for side in (-1, 1)) if each.side]
    return found[0] if len(found) == 1 else NOT_CROWDED


def _at_edge(positions: Positions, current: Interval, side: int) -> Crowding:
    count, p_value = positions.edge_p_value(_strip(current, side, 0.0, EDGE_STRIP_SHARE))
    share = _share_better(positions, current, side)
    if not (p_value < CROWDED_BELOW and share > 0.5):
        return NOT_CROWDED
    return Crowding(side=side, n_best=count, p_value=p_value, share_better=share)


def _share_better(positions: Positions, current: Interval, side: int) -> float:
    """Return how often a trial at the very edge is better than one of the strip next to it.

    That strip reaches to the next trial at least: an integer's values may be further apart.
    """
    edge = current.low if side < 0 else current.high
    depths = [abs(edge - each) / current.width for each in (*positions.best, *positions.rest, *positions.diverged)]
    inner = [each for each in depths if each > OUTERMOST_SHARE]
    if not inner:
        return 0.0
    begin, end = min(inner), max(NEXT_SHARE, min(inner))
    return positions.share_better(_strip(current, side, 0.0, OUTERMOST_SHARE), _strip(current, side, begin, end))


def _strip(current: Interval, side: int, begin: float, end: float) -> tuple[float, float]:
    """Return the ends of a strip that lies so many widths from the edge."""
    begin, end = begin * current.width, end * current.width
    return (current.low + begin, current.low + end) if side < 0 else (current.high - end, current.high - begin)


def edge_crowding(inside: Sequence[Observation], dimension: Dimension) -> Crowding:
    """Return the edge of a numeric dimension's current range at which the best trials crowd; none if they are few.

    None either if so many rewards are equal that the best cannot be told from the rest.

    Args:
        inside: Trials inside the current ranges, best first.
        dimension: With its current range.
    """
    assert not isinstance(dimension.range, Choices)
    trials = [
        each for each in active(inside, dimension.name) if not is_zero(each.hyperparameters[dimension.name], dimension)
    ]
    if too_few(trials, what="") or too_equal(trials):
        return NOT_CROWDED
    return crowding(positions_of(trials, dimension), interval_of(dimension.range))


def moved_out(box: Interval, side: int, current: Interval, limits: Interval) -> Interval:
    """Return the box with the crowded edge beyond the current one by a share of the width, within the limits."""
    step = OUTWARD_SHARE * current.width
    if side < 0:
        return Interval(low=min(box.low, max(current.low - step, limits.low)), high=box.high)
    if side > 0:
        return Interval(low=box.low, high=max(box.high, min(current.high + step, limits.high)))
    return box

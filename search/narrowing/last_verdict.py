"""The last verdict, when the search has ended: at which edges of the last stage's ranges the best trials crowd.

At a stage border the rules judge the trials before it; nobody does so after the last stage, which has most of a
study's trials. The verdict moves nothing. It says where the optimum may lie beyond what was searched, by the test by
which the rules push an edge outwards, whatever the rule, and without one.

That test alone compares the best trials with all others, of which a sampler's later ones are better and lie closer
together, in dimensions that do not matter, too. So a Gaussian process of the trials must agree, which knows what their
other hyperparameters explain: of its functions, nearly all have the best trials worse in the middle of the range, and
most have them worse a little inside the edge, too, where an optimum of the range itself would lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.comparable_rewards import Observation
from search.narrowing.edges import Crowding, edge_crowding
from search.narrowing.evidence import active, is_zero, n_best_apart, ranked
from search.narrowing.optimum import Model, model_of
from search.range_text import number_text
from search.search_space import Choices, Dimension, Hyperparameters, SearchSpace
from search.study_definition import Direction
from search.study_record import CrowdedEdge

SURE_FROM = 0.99  # that the best trials are worse in the middle
LIKELY_FROM = 0.8  # that they are worse a little inside: a sure sign of the slope there takes hundreds of trials
_INSIDE_SHARE = 0.15  # of the width: how far that is
_MOST_BEST = 32  # that are moved; the cost grows with the third power


def crowded_edges(
    observations: Sequence[Observation], space: SearchSpace, *, direction: Direction
) -> tuple[CrowdedEdge, ...]:
    """Return the edges at which the best trials crowd, in the order of the dimensions, at most one of each.

    Args:
        observations: Finished trials of all stages, in any order; those inside `space` count.
        space: The ranges of the last stage.
        direction: Whether more reward is better.
    """
    inside = ranked([each for each in observations if space.contains(each.hyperparameters)], direction)
    numeric = [each for each in space if not isinstance(each.range, Choices)]
    found = [(dimension, edge_crowding(inside, dimension)) for dimension in numeric]
    crowded = [
        (dimension, crowding)
        for dimension, crowding in found
        if crowding.side and not _leads_to_zero(dimension, crowding)
    ]
    if not crowded:
        return ()
    model = model_of(inside, space, direction, tells_stages_apart=False)
    found_worse = [(*each, _worse_inside(model, inside, *each)) for each in crowded]
    return tuple(_crowded_edge(*each) for each in found_worse if each[-1].is_convincing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worse:
    """How probably the best trials, put at an edge, are better than elsewhere.

    Attributes:
        in_the_middle: Than in the middle of the range.
        next_to_it: Than a little inside that edge.
    """

    in_the_middle: float
    next_to_it: float

    @property
    def is_convincing(self) -> bool:
        return self.in_the_middle >= SURE_FROM and self.next_to_it >= LIKELY_FROM


def _leads_to_zero(dimension: Dimension, crowded: Crowding) -> bool:
    """Whether what lies beyond the edge ends at a value that was tried: the extra zero, which the edge faces."""
    assert not isinstance(dimension.range, Choices)
    faces_zero = dimension.range.low >= 0 if crowded.side < 0 else dimension.range.high <= 0
    return dimension.zero_share > 0.0 and faces_zero


def _worse_inside(model: Model, inside: Sequence[Observation], dimension: Dimension, crowded: Crowding) -> _Worse:
    """Return how probably the best trials, put at that edge, would be worse further inside."""
    name = dimension.name
    trials = [each for each in active(inside, name) if not is_zero(each.hyperparameters[name], dimension)]
    best = [each.hyperparameters for each in trials[: min(n_best_apart(trials), _MOST_BEST)]]
    edge, little = (0.0, _INSIDE_SHARE) if crowded.side < 0 else (1.0, 1.0 - _INSIDE_SHARE)
    at_edge, middle, next_to_it = (_moved(best, dimension, share=share) for share in (edge, 0.5, little))
    return _Worse(
        in_the_middle=model.probability_of_better(at_edge, middle),
        next_to_it=model.probability_of_better(at_edge, next_to_it),
    )


def _moved(points: Sequence[Hyperparameters], dimension: Dimension, *, share: float) -> list[Hyperparameters]:
    """Return points with the dimension at a share of its range; integers become fractions, as the process has them."""
    range_ = dimension.range
    assert not isinstance(range_, Choices)
    low, high = range_.scale(range_.low), range_.scale(range_.high)
    return [{**each, dimension.name: range_.unscale(low + share * (high - low))} for each in points]


def _crowded_edge(dimension: Dimension, crowded: Crowding, worse: _Worse) -> CrowdedEdge:
    assert not isinstance(dimension.range, Choices)
    assert not isinstance(dimension.limits, Choices)
    is_lower, is_hard_limit = crowded.side < 0, crowded.is_at_limit(dimension)
    bound, limit = (each.low if is_lower else each.high for each in (dimension.range, dimension.limits))
    end = f"{'lower' if is_lower else 'upper'} {'hard limit' if is_hard_limit else 'end'}"
    where = f"{end} {number_text(bound, dimension.limits)} of {dimension.name}"
    found = f"{crowded.n_best} of the best lie there, p = {crowded.p_value:.2g}"
    advice = "if values beyond make sense, widen its limits and search again"
    if not is_hard_limit:
        furthest = number_text(limit, dimension.limits)
        advice = (
            f"a further stage may move it outwards, as far as the hard limit {furthest}, or search again in a wider "
            "range"
        )
    return CrowdedEdge(
        name=dimension.name,
        is_lower=is_lower,
        bound=bound,
        is_hard_limit=is_hard_limit,
        reason=f"the best trials crowd at the {where} ({found}): the optimum may lie beyond; {advice}",
        figures={**crowded.figures, "worse_inside": worse.in_the_middle, "worse_next": worse.next_to_it},
    )

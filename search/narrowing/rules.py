"""The narrowing rules by name, and the ranges that a first stage starts with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from search.comparable_rewards import Observation
from search.errors import StudyDefinitionError, did_you_mean
from search.narrowing.decisions import decided, kept_all, put_together
from search.narrowing.evidence import MIN_TRIALS
from search.narrowing.outside import reaching_out
from search.narrowing.posterior import posterior
from search.narrowing.posterior import trials_needed as trials_needed_by_posterior
from search.narrowing.quantile_box import quantile_box
from search.narrowing.request import NarrowingRequest, reachable
from search.narrowing.trust_region import trust_region
from search.search_space import SearchSpace
from search.study_definition import Direction, NarrowRule
from search.study_record import NarrowedSpace, RangeChange

Rule = Callable[[NarrowingRequest], NarrowedSpace]
"""Must not depend on anything else, nor on the order of the observations."""


def narrow(
    observations: Sequence[Observation],
    space: SearchSpace,
    *,
    direction: Direction,
    rule: NarrowRule,
    study_space: SearchSpace | None = None,
) -> NarrowedSpace:
    """Return the next stage's ranges with one decision per dimension.

    Args:
        observations: Finished trials of all stages so far, in any order; the rule looks at those inside `space`.
        space: The current ranges.
        direction: Whether more reward is better.
        rule: Which rule decides.
        study_space: The ranges as declared: what `posterior` and `trust_region` look at, and to which the ranges of any
            rule reach out again if trials that were sampled outside `space` are among the best; None for `space`.

    Raises:
        StudyDefinitionError: If no rule has that name.
    """
    if rule.rule not in _RULES:
        raise StudyDefinitionError(
            f"a narrowing rule must be one of {', '.join(RULE_NAMES)}, but got {rule.rule!r}."
            f"{did_you_mean(rule.rule, RULE_NAMES)}",
            key="narrow",
        )
    narrowed = _RULES[rule.rule](
        NarrowingRequest(
            observations=observations, space=space, declared=study_space or space, direction=direction, rule=rule
        )
    )
    if study_space is None or rule.rule == "none":
        return narrowed
    return reaching_out(narrowed, observations, before=space, study_space=study_space, direction=direction)


def trials_needed(rule: NarrowRule, n_dimensions: int) -> int:
    """Return below how many finished trials a rule keeps all ranges, in a space of so many dimensions."""
    return trials_needed_by_posterior(n_dimensions) if rule.rule == "posterior" else MIN_TRIALS


def considered(rule: NarrowRule, space: SearchSpace, *, study_space: SearchSpace) -> SearchSpace:
    """Return the ranges whose trials a rule goes by: the current ones; with a model the declared ones too.

    Args:
        rule: Which rule.
        space: The current ranges.
        study_space: The ranges as declared.
    """
    return reachable(space, study_space) if rule.rule in _BY_A_MODEL else space


def declared(space: SearchSpace) -> NarrowedSpace:
    """Return the declared ranges as the first stage records them."""
    change = RangeChange.DECLARED
    return put_together([(each, decided(each, each, change, "as declared", figures={})) for each in space])


def _keep_all(request: NarrowingRequest) -> NarrowedSpace:
    return kept_all(request.space, "this stage's narrowing is switched off")


_RULES: dict[str, Rule] = {
    "quantile_box": quantile_box,
    "posterior": posterior,
    "trust_region": trust_region,
    "none": _keep_all,
}
_BY_A_MODEL = ("posterior", "trust_region")
RULE_NAMES: tuple[str, ...] = tuple(_RULES)

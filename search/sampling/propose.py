"""The samplers by name, and the one function that asks them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from search.comparable_rewards import Observation
from search.errors import StudyDefinitionError, did_you_mean
from search.portfolio import REFINE
from search.sampling.beyond import joined
from search.sampling.expected import with_priors
from search.sampling.quasi_random import quasi_random_point
from search.sampling.request import ProposalRequest
from search.sampling.uniform import uniform_point
from search.search_space import Hyperparameters, SearchSpace, Value
from search.study_definition import Direction

Sampler = Callable[[ProposalRequest], dict[str, Value]]

START_UP_TRIALS = 10
"""Finished trials that a model knows below which it has too little to go on; quasi-random points come first."""

MODEL_SAMPLERS: tuple[str, ...] = ("tpe", "cmaes", "gp", "staged_gp", "policy", "mixed")
"""Samplers that learn from finished trials."""

WHOLE_SPACE_SAMPLERS: frozenset[str] = frozenset({"staged_gp", "policy", REFINE})
"""Samplers whose model covers the declared ranges, whatever the box: trials outside it teach them too."""

_MEMBERS: Mapping[str, tuple[str, ...]] = {"mixed": ("staged_gp", "policy")}

MOST_OBSERVATIONS: dict[str, int] = {
    "tpe": 256,
    "gp": 256,
    "cmaes": 1024,
    "staged_gp": 384,
    "policy": 512,
    REFINE: 384,
}
"""Observations beyond which a model, whose cost grows with each, is shown the first, the best and the most recent."""

SAMPLER_NAMES: tuple[str, ...] = ("random", "qmc", *MODEL_SAMPLERS)


def propose(
    *,
    box: SearchSpace,
    sampler: str,
    direction: Direction,
    observations: Sequence[Observation],
    running: Sequence[Hyperparameters],
    stage: str,
    stage_seed: int,
    trial_seed: int,
    index_in_stage: int,
    target_epochs: int,
    declared: SearchSpace | None = None,
) -> dict[str, Value]:
    """Return the hyperparameters of the next trial: active dimensions only, all inside `box`.

    Equal arguments give equal proposals, in any process; the order of `observations` does not matter.

    Args:
        box: The stage's current ranges.
        sampler: One of `SAMPLER_NAMES`, or `search.portfolio.REFINE`.
        direction: Whether more reward is better.
        observations: Finished trials of any stage with their comparable rewards; those outside `model_ranges` are left
            out. From `MOST_OBSERVATIONS` on they are taken for an excerpt.
        running: Hyperparameters of trials in flight; model samplers keep away from them.
        stage: Name of the stage that the trial belongs to.
        stage_seed: In ``[0, 2**31)``, the same for all trials of the stage.
        trial_seed: In ``[0, 2**31)``, this trial's own.
        index_in_stage: Position of the trial in its stage, from 0.
        target_epochs: Epochs of the study's longest trials, >= 1.
        declared: The study's declared ranges; None for the box.

    Raises:
        StudyDefinitionError: If no sampler has that name.
    """
    sampler = whose_turn(sampler, stage_seed=stage_seed, index_in_stage=index_in_stage)
    whole = model_ranges(sampler, box=box, declared=declared or box)
    known = [each for each in observations if whole.contains(each.hyperparameters)]
    known.sort(key=lambda each: each.number)
    inside: list[Observation] = []
    beyond: list[Observation] = []
    for each in known:
        (inside if whole is box or box.contains(each.hyperparameters) else beyond).append(each)
    request = ProposalRequest(
        box=box,
        direction=direction,
        imported=tuple(each for each in inside if each.stage != stage),
        own=tuple(each for each in inside if each.stage == stage),
        running=tuple(each for each in running if whole.contains(each)),
        stage_seed=stage_seed,
        trial_seed=trial_seed,
        index_in_stage=index_in_stage,
        target_epochs=target_epochs,
        known=whole,
        beyond=tuple(beyond),
        is_excerpt=len(observations) >= MOST_OBSERVATIONS.get(sampler, math.inf),
    )
    return _sampler(sampler)(request)


def whose_turn(sampler: str, *, stage_seed: int, index_in_stage: int) -> str:
    """Return the sampler itself, or of one that consists of others the one whose turn it is.

    Args:
        sampler: One of `SAMPLER_NAMES`, or `search.portfolio.REFINE`.
        stage_seed: In ``[0, 2**31)``, the same for all trials of the stage.
        index_in_stage: Position of the trial in its stage, from 0.
    """
    if sampler not in _MEMBERS:
        return sampler
    from search.samplers.turns import turn

    members = _MEMBERS[sampler]
    return members[turn(index_in_stage, n_members=len(members), seed=stage_seed)]


def model_ranges(sampler: str, *, box: SearchSpace, declared: SearchSpace) -> SearchSpace:
    """Return the ranges whose trials a sampler learns from: the box, or for some the declared ones with it.

    Args:
        sampler: One of `SAMPLER_NAMES`, or `search.portfolio.REFINE`.
        box: The stage's current ranges.
        declared: The study's declared ranges.
    """
    if sampler not in WHOLE_SPACE_SAMPLERS:
        return box
    whole = joined(declared, box)
    return box if whole == box else whole


def _sampler(name: str) -> Sampler:
    """Return the sampler of that name; a study pays only for the library that its sampler uses."""
    if name == "random":
        return uniform_point
    if name == "qmc":
        return quasi_random_point
    if name == "tpe":
        from search.sampling.optuna_view import tpe_point

        return _after_start_up(tpe_point)
    if name == "gp":
        from search.sampling.optuna_view import gp_point

        return _after_start_up(gp_point)
    if name == "staged_gp":
        from search.sampling.optuna_view import staged_gp_point

        return _after_start_up(staged_gp_point)
    if name == REFINE:
        from search.sampling.optuna_view import refined_point

        return _after_start_up(refined_point)
    if name == "policy":
        from search.sampling.optuna_view import policy_point

        return _after_start_up(policy_point)
    if name == "cmaes":
        from search.sampling.evolution import evolution_point

        return _asking_priors(evolution_point)
    raise StudyDefinitionError(
        f"a sampler must be one of {', '.join(SAMPLER_NAMES)}, but got {name!r}.{did_you_mean(name, SAMPLER_NAMES)}",
        key="sampler",
    )


def _after_start_up(model: Sampler) -> Sampler:
    asking = _asking_priors(model)

    def point(request: ProposalRequest) -> dict[str, Value]:
        n_known = len(request.imported) + len(request.own) + len(request.beyond)
        return quasi_random_point(request) if n_known < START_UP_TRIALS else asking(request)

    return point


def _asking_priors(model: Sampler) -> Sampler:
    return lambda request: with_priors(model(request), request)

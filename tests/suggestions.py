"""Samplers asked for a point, for tests that care about some of what they are told only."""

from __future__ import annotations

from collections.abc import Sequence

from search.comparable_rewards import Observation
from search.sampling import propose
from search.search_space import Hyperparameters, SearchSpace, Value
from search.study_definition import Direction


def suggestion(
    sampler: str,
    *,
    box: SearchSpace,
    observations: Sequence[Observation] = (),
    running: Sequence[Hyperparameters] = (),
    direction: Direction = Direction.MAXIMIZE,
    stage: str = "fine",
    stage_seed: int = 0,
    trial_seed: int | None = None,
    index: int = 0,
    target_epochs: int = 4,
    declared: SearchSpace | None = None,
) -> dict[str, Value]:
    """Return what a sampler proposes; the trial's seed is its position in the stage unless it is given."""
    return propose(
        box=box,
        sampler=sampler,
        direction=direction,
        observations=observations,
        running=running,
        stage=stage,
        stage_seed=stage_seed,
        trial_seed=index if trial_seed is None else trial_seed,
        index_in_stage=index,
        target_epochs=target_epochs,
        declared=declared,
    )

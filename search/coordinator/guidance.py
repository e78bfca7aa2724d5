"""What becomes of a sampler's proposal in a study that takes something from before it."""

from __future__ import annotations

import numpy as np

from search.coordinator.history import History
from search.past import Past, StartingPoint
from search.sampling import completed, near_past
from search.search_space import Hyperparameters
from search.seeds import derived_seed
from search.study_definition import StudyDefinition
from search.study_record import StageOpening


def search_seed(definition: StudyDefinition, past: Past) -> int:
    """Return the seed of what search trials try and of their trainings."""
    return definition.seed if past.seed is None else past.seed


def starting_point(past: Past, history: History) -> StartingPoint | None:
    """Return the first point of an earlier study, or of the user's, that no trial has tried yet, if there is one.

    They are for the first stage; where a budget cuts that short, for what follows it.
    """
    if not past.starting_points:
        return None
    tried = history.origins
    for point in past.starting_points:
        if not tried[point.origin]:
            return point
        tried[point.origin] -= 1
    return None


def guided(
    proposed: Hyperparameters,
    *,
    past: Past,
    definition: StudyDefinition,
    opening: StageOpening,
    history: History,
    number: int,
) -> tuple[Hyperparameters, str]:
    """Return a trial's hyperparameters and where they come from, in words; the proposal has no such origin.

    The first trials of the study are its starting points, completed by the proposal; a later one may be a point near a
    good trial of an earlier study.

    Args:
        proposed: By the stage's sampler, within its ranges.
        past: What the study takes from before.
        definition: The study.
        opening: The trial's stage.
        history: The trials so far.
        number: Of the trial.
    """
    box, seed = opening.narrowed.space, derived_seed(search_seed(definition, past), "sampling", number)
    point = starting_point(past, history)
    if point is not None:
        units = dict(zip(box.names, np.random.default_rng([seed, 3]).random(len(box)).tolist(), strict=True))
        return completed(box, point.hyperparameters, proposed, units=units), point.origin
    near = near_past(
        proposed,
        studies=past.studies,
        observations=history.rewards.observations,
        direction=definition.objective.direction,
        declared=definition.space,
        box=box,
        number=number,
        trial_seed=seed,
    )
    return (proposed, "") if near is None else near

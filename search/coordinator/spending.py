"""What the next trial of a stage with the sampler `portfolio` is spent on."""

from __future__ import annotations

from search.coordinator.history import History
from search.portfolio import EXPLORE, possible_actions, spendings
from search.samplers.bandit import beliefs, chosen_action
from search.sampling import START_UP_TRIALS, point_outside
from search.search_space import Hyperparameters
from search.seeds import derived_seed
from search.study_definition import StudyDefinition
from search.study_record import StageOpening


def next_action(
    *, definition: StudyDefinition, opening: StageOpening, history: History, number: int
) -> tuple[str, Hyperparameters | None]:
    """Return the action, none while too little is known for a choice, and the point if it lies outside the ranges.

    Args:
        definition: The study.
        opening: The trial's stage.
        history: The trials so far.
        number: Of the trial.
    """
    box, objective = opening.narrowed.space, definition.objective
    if history.rewards.n_inside(box) < START_UP_TRIALS:
        return "", None
    outside = None
    if box != definition.space:
        outside = point_outside(
            definition.space,
            box=box,
            seed=(derived_seed(definition.seed, "stage", opening.index), 1),
            index=number - opening.first_trial_number,
        )
    told = spendings(history.finished, history.rewards.observations(), objective.direction)
    believed = beliefs(told, possible_actions(box, can_explore=outside is not None))
    action = chosen_action(believed, seed=(derived_seed(definition.seed, "sampling", number), 4))
    return action, outside if action == EXPLORE else None

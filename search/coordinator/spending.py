"""What the next trial of a stage with the sampler `portfolio` is spent on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search.comparable_rewards import Observation
from search.coordinator.history import History
from search.portfolio import CONTINUE, EXPLORE, possible_actions, spendings
from search.samplers.appraisal import Appraisal
from search.samplers.bandit import beliefs, choose
from search.sampling import EXPLORED, START_UP_TRIALS, point_outside
from search.search_space import Hyperparameters
from search.seeds import derived_seed
from search.study_definition import StudyDefinition
from search.study_record import StageOpening
from search.trial import FinishedTrial


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What a trial is spent on.

    Attributes:
        action: Its name; empty while too little is known for a choice.
        beliefs: What was believed of each possible action, by name; empty if there was no choice.
        outside: The point, if it lies outside the stage's ranges.
        continued: The trial to go on with, if it is one.
    """

    action: str = ""
    beliefs: Mapping[str, Appraisal] = field(default_factory=dict)
    outside: Hyperparameters | None = None
    continued: FinishedTrial | None = None


def next_spending(
    *,
    definition: StudyDefinition,
    opening: StageOpening,
    history: History,
    paused: Sequence[FinishedTrial],
    number: int,
    seed: int,
) -> Spending:
    """Return what a trial is spent on, as far as that is settled before a sampler is asked.

    Args:
        definition: The study.
        opening: The trial's stage.
        history: The trials so far.
        paused: Those that the stage could go on with.
        number: Of the trial.
        seed: Of the search.
    """
    box, objective = opening.narrowed.space, definition.objective
    if history.rewards.n_inside(box) < START_UP_TRIALS:
        return Spending()
    outside = None
    if box != definition.space:
        outside = point_outside(
            definition.space,
            box=box,
            seed=(derived_seed(seed, "stage", opening.index), EXPLORED),
            index=number - opening.first_trial_number,
        )
    observations = history.rewards.observations()
    observed = {each.number for each in observations}
    paused = [each for each in paused if each.record.number in observed]
    possible = possible_actions(box, can_explore=outside is not None, can_continue=bool(paused))
    believed = beliefs(spendings(history.finished, observations, objective.direction), possible)
    choice = choose(believed, seed=(derived_seed(seed, "sampling", number), 4))
    return Spending(
        action=choice.action,
        beliefs=choice.appraisals,
        outside=outside if choice.action == EXPLORE else None,
        continued=_worth_continuing(paused, observations, definition, opening) if choice.action == CONTINUE else None,
    )


def _worth_continuing(
    paused: Sequence[FinishedTrial],
    observations: Sequence[Observation],
    definition: StudyDefinition,
    opening: StageOpening,
) -> FinishedTrial:
    from search.sampling.continuation import most_promising  # loads the model: only who asks it pays for it

    by_number = {each.record.number: each for each in paused}
    number = most_promising(
        [each for each in observations if each.number in by_number],
        [each for each in observations if each.number not in by_number],
        space=definition.space,
        direction=definition.objective.direction,
        target_epochs=definition.stages[opening.index].max_epochs,
    )
    return by_number[number]

"""The sampler `portfolio`: what a stage's trials may be spent on, and what those of a study say about each.

Which action pays is learned as `search.samplers.bandit` says, from the comparable rewards of all trials in the order of
their numbers. So a choice follows from what is known when it is made, and a resumed study makes the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from search.comparable_rewards import Observation, comparable_observations
from search.samplers.bandit import Belief, Spending, beliefs, improvements
from search.search_space import Choices, SearchSpace
from search.study_definition import Direction, Objective
from search.trial import FinishedTrial, TrialState

PORTFOLIO = "portfolio"
"""The sampler's name."""

EXPLORE = "explore"
"""The action of trying a point outside the stage's ranges, within the declared ones."""

REFINE = "refine"
"""The action of asking `staged_gp` near the best trial."""

SAMPLERS: Mapping[str, str] = {"exploit": "staged_gp", REFINE: REFINE, "policy": "policy", "tpe": "tpe"}
"""What each action inside the ranges asks."""


def possible_actions(box: SearchSpace, *, can_explore: bool) -> tuple[str, ...]:
    """Return the actions that a trial may be spent on.

    Args:
        box: The stage's ranges; among choices alone, nothing is near to anything.
        can_explore: Whether there is a point outside them.
    """
    has_numbers = any(not isinstance(each.range, Choices) for each in box)
    inside = (each for each in SAMPLERS if each != REFINE or has_numbers)
    return (*inside, *((EXPLORE,) if can_explore else ()))


def spendings(
    finished: Iterable[FinishedTrial], observations: Sequence[Observation], direction: Direction
) -> list[Spending]:
    """Return what each trial cost and improved.

    A pruned trial has improved nothing, nor has one that says nothing about its hyperparameters; that it cost its
    epochs is true all the same.

    Args:
        finished: Search trials, by number.
        observations: What these teach.
        direction: Whether more reward is better.
    """
    known = {each.number: direction.sign * each.reward for each in observations if not each.diverged}
    trials = [each.record for each in finished]
    rewards = [
        None if each.state is TrialState.PRUNED or each.number is None else known.get(each.number) for each in trials
    ]
    return [
        Spending(action=each.action, n_epochs=each.n_trained, improvement=improvement)
        for each, improvement in zip(trials, improvements(rewards), strict=True)
    ]


def beliefs_of(finished: Sequence[FinishedTrial], objective: Objective) -> dict[str, Belief]:
    """Return what is believed of each action that a trial of a study was spent on; nothing if there was no choice.

    Args:
        finished: Its search trials, by number.
        objective: What is optimized.
    """
    told = spendings(finished, comparable_observations(finished, objective=objective), objective.direction)
    taken = {each.action for each in told}
    return beliefs(told, [each for each in (*SAMPLERS, EXPLORE) if each in taken])

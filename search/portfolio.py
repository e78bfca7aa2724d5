"""The sampler `portfolio`: what a stage's trials may be spent on, and what those of a study say about each.

Which action pays is learned as `search.samplers.bandit` says, from the comparable rewards of all trials in the order of
their numbers. So a choice follows from what is known when it is made, and a resumed study makes the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from search.comparable_rewards import Observation, comparable_observations
from search.samplers.bandit import Spending, beliefs, improvements
from search.search_space import Choices, SearchSpace
from search.study_definition import Direction, Objective
from search.trial import FinishedTrial, TrialState

PORTFOLIO = "portfolio"
"""The sampler's name."""

EXPLORE = "explore"
"""The action of trying a point outside the stage's ranges, within the declared ones."""

REFINE = "refine"
"""The action of asking `staged_gp` near the best trial."""

CONTINUE = "continue"
"""The action of going on with a paused trial from its checkpoint."""

SAMPLERS: Mapping[str, str] = {"exploit": "staged_gp", REFINE: REFINE, "policy": "policy", "tpe": "tpe"}
"""What each action inside the ranges asks."""


def possible_actions(box: SearchSpace, *, can_explore: bool, can_continue: bool) -> tuple[str, ...]:
    """Return the actions that a trial may be spent on.

    Args:
        box: The stage's ranges; among choices alone, nothing is near to anything.
        can_explore: Whether there is a point outside them.
        can_continue: Whether a trial is paused.
    """
    has_numbers = any(not isinstance(each.range, Choices) for each in box)
    inside = (each for each in SAMPLERS if each != REFINE or has_numbers)
    return (*inside, *((EXPLORE,) if can_explore else ()), *((CONTINUE,) if can_continue else ()))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What an action has had and made of it.

    Attributes:
        action: Its name.
        n_trials: Finished ones that were spent on it.
        n_epochs: Trained for them.
        improvement: Of the best comparable reward, in spreads; of all of them together.
        belief: In spreads by 100 epochs: what the next ones are expected to improve.
    """

    action: str
    n_trials: int
    n_epochs: int
    improvement: float
    belief: float


def accounts(finished: Sequence[FinishedTrial], objective: Objective) -> list[Account]:
    """Return the account of each action that a trial of a study was spent on; none if there was no choice.

    Args:
        finished: Its search trials, by number.
        objective: What is optimized.
    """
    if not any(each.record.action for each in finished):
        return []
    told = spendings(finished, comparable_observations(finished, objective=objective), objective.direction)
    taken = [each for each in (*SAMPLERS, EXPLORE, CONTINUE) if any(other.action == each for other in told)]
    believed = beliefs(told, taken)
    return [_account(action, told, believed[action].appraised().mean) for action in taken]


def _account(action: str, told: Sequence[Spending], belief: float) -> Account:
    own = [each for each in told if each.action == action]
    return Account(
        action=action,
        n_trials=len(own),
        n_epochs=round(math.fsum(each.n_epochs for each in own)),
        improvement=math.fsum(each.improvement for each in own),
        belief=belief,
    )

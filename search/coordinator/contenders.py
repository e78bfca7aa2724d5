"""Which trials of a search may become the final model, and by what they are compared."""

from __future__ import annotations

import heapq
import math
from typing import TypeAlias

from search.coordinator.history import History
from search.coordinator.search_stage import number_of
from search.coordinator.study_context import StudyContext
from search.preference import Worth, worth_of
from search.reward import pareto_front
from search.search_space import Value
from search.trial import Score, TrialState

_Scored: TypeAlias = tuple[Score, int]


def contenders(history: History, context: StudyContext, *, at_most: int) -> tuple[int, ...]:
    """Return the numbers of the best fully trained trials of any stage, best first, by the rewards that they reached.

    Of trials with the same hyperparameters only the best is one: its runs over seeds would be theirs, too. So there may
    be fewer contenders than trials.

    What a short trial might have reached is no reason to prefer it to one that has. A trial that is not among the best
    of those that have finished never will be. Where none is fully trained, those that the budget stopped take their
    place. Of a trial and the one that continues it, only one is a contender, and none before both have ended.

    What breaks a constraint comes after all that keep them, the least violation first. With several objectives, the
    contenders are those of the Pareto front, by what the study wants of its winner; a later trial may then dominate
    those before another one.
    """
    fit = _fit(history, context)
    worth = _worth(fit, context)
    waiting = [(score.violation, -worth(score), score.losses, number) for score, number in fit]
    heapq.heapify(waiting)
    taken: dict[frozenset[tuple[str, Value]], int] = {}
    while waiting and len(taken) < at_most:
        *_, number = heapq.heappop(waiting)
        taken.setdefault(history.finished_trial(number).record.configuration, number)
    return tuple(taken.values())


def contenders_worth(history: History, context: StudyContext) -> Worth:
    """Return what the contenders are compared by; more is better."""
    return _worth(_fit(history, context), context)


def _worth(fit: list[_Scored], context: StudyContext) -> Worth:
    definition = context.definition
    return worth_of(definition.objective, definition.finish, front=[score for score, _ in fit])


def _fit(history: History, context: StudyContext) -> list[_Scored]:
    """Return the trials that may be contenders; with several objectives, the front of them."""
    objective = context.definition.objective
    scored = [
        (trial.score, number_of(trial.record), trial.record.state)
        for trial in history.contending
        if trial.score is not None and math.isfinite(trial.score.reward)
    ]
    trained = [(score, number) for score, number, state in scored if state.is_fully_trained]
    fit = trained or [(score, number) for score, number, state in scored if state is TrialState.STOPPED]
    if not objective.further:
        return fit
    return [fit[position] for position in pareto_front([score for score, _ in fit], objective)]

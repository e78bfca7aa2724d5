"""Which of a study's recorded trials are its best: one, or a Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from search.reward import pareto_front, rank_key, reward_name
from search.study_definition import Objective
from search.study_record import ScoredTrial, StudyRecord


def best_of(trials: Iterable[ScoredTrial], *, objective: Objective) -> ScoredTrial | None:
    """Return the best trial with a finite reward, the earliest among equals, or None.

    One that keeps the constraints, if any does; else the one that breaks them least.
    """
    return min(_scored(trials), key=lambda trial: _key(trial, objective), default=None)


def winner(record: StudyRecord) -> ScoredTrial | None:
    """Return the trial whose hyperparameters won, or the best so far of an unfinished study."""
    if record.result is not None:
        for trial in record.trials:
            if trial.record.number == record.result.best_trial_number:
                return trial
    return best_of(may_win(record.trials), objective=record.definition.objective)


def may_win(trials: Iterable[ScoredTrial]) -> list[ScoredTrial]:
    """Return the trials that trained as long as was worth it; of one and its continuation only that."""
    trials = list(trials)
    by_key = {trial.record.key: trial.record for trial in trials}
    continuations = [trial.record for trial in trials if trial.record.continues in by_key]
    superseded = {each.continues for each in continuations if each.supersedes(by_key[each.continues])}
    return [trial for trial in trials if trial.record.state.is_fully_trained and trial.record.key not in superseded]


def fruitless_words(record: StudyRecord) -> str:
    """Return that the search has ended without a trial that may win, and what to do; empty if it has not.

    Where a budget bounds the number of trials, only an early end tells that a search has ended.
    """
    n_finished = sum(trial.record.state.is_finished for trial in record.trials)
    n_planned = record.definition.n_trials
    has_ended = record.early_end is not None or (n_planned is not None and n_finished >= n_planned)
    if not has_ended or may_win(record.trials):
        return ""
    monitor = record.definition.objective.monitor
    return none_trained(n_finished, monitor=monitor, study=record.definition.study)


def none_trained(n_finished: int, *, monitor: str, study: str) -> str:
    """Return what is to be said of a search that has ended without a trial to be recommended."""
    return f"none of {n_finished} trials trained to its end with a finite {monitor}; {why_not(study)}"


def why_not(study: str) -> str:
    """Return where a study that found nothing says why."""
    return f"`zeroin trials {study}` says of each one why. Mend the study file and run it with --new."


def pareto_trials(trials: Iterable[ScoredTrial], *, objective: Objective) -> list[ScoredTrial]:
    """Return those of the trials that may win that none of them dominates, the best reward first.

    Empty for a study with one objective, which has a winner instead. Where all break constraints, these are the ones
    that break them least.
    """
    if not objective.further:
        return []
    scored = _scored(may_win(trials))
    found = pareto_front([trial.score for trial in scored if trial.score is not None], objective)
    return sorted((scored[position] for position in found), key=lambda trial: _key(trial, objective))


def winners_violation(record: StudyRecord) -> float:
    """Return how far the best is from keeping all constraints, >= 0: over its seeds if confirmed, else as a trial.

    0 while there is no best.
    """
    if record.result is not None and record.result.confirmations:
        return record.result.confirmations[0].violation
    best = winner(record)
    return 0.0 if best is None or best.score is None else best.score.violation


def infeasible_words(record: StudyRecord) -> str:
    """Return the plain word that the best breaks constraints, and so all others do; empty if it keeps them."""
    if not winners_violation(record) > 0.0:
        return ""
    found = best_of(may_win(record.trials), objective=record.definition.objective)
    if found is not None and found.score is not None and not found.score.violation > 0.0:
        return "No contender keeps all constraints in the mean over its seeds; the winner breaks them least."
    return "No trial keeps all constraints; the best breaks them least."


def front_to_plain(front: Iterable[ScoredTrial], *, objective: Objective) -> list[dict[str, Any]]:
    """Return a Pareto front as JSON-able data: what each trial comes to in every objective, and its hyperparameters."""
    return [
        {
            "number": trial.record.number,
            "stage": trial.record.stage,
            "values": {
                reward_name(objective): trial.score.reward,
                **{each.monitor: trial.score.measured[each.monitor] for each in objective.further},
            },
            "feasible": not trial.score.violation > 0.0,
            "hyperparameters": dict(trial.record.hyperparameters),
        }
        for trial in front
        if trial.score is not None
    ]


def _scored(trials: Iterable[ScoredTrial]) -> Sequence[ScoredTrial]:
    return [trial for trial in trials if trial.score is not None and math.isfinite(trial.score.reward)]


def _key(trial: ScoredTrial, objective: Objective) -> tuple[float, ...]:
    assert trial.score is not None
    return rank_key(trial.score, objective)

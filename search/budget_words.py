"""A budget, and what it cut off a study, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from search.study_definition import Budget, StudyDefinition
from search.study_record import EarlyEnd, FinishPlan, Spent
from search.trial import TrialRecord, TrialState


def budget_words(budget: Budget) -> str:
    """Return ``2 hours, 3.5 device hours, 40 trials, 2,600 epochs``, as far as they are bounded, else nothing."""
    return ", ".join(_bounds(budget))


def as_many_words(budget: Budget) -> str:
    """Return how many trials an open stage has: ``as many trials as 2,600 epochs allow``."""
    bounds = _bounds(budget)
    verb = "allows" if len(bounds) == 1 and bounds[0].startswith("1 ") else "allow"
    return f"as many trials as {' and '.join(bounds)} {verb}"


def _bounds(budget: Budget) -> list[str]:
    times = [(f"{value:.4g}", value, name) for value, name in _times(budget) if value is not None]
    counts = [(f"{value:,}", value, name) for value, name in _counts(budget) if value is not None]
    return [f"{text} {name}{'' if value == 1 else 's'}" for text, value, name in (*times, *counts)]


def _times(budget: Budget) -> tuple[tuple[float | None, str], ...]:
    return (budget.hours, "hour"), (budget.device_hours, "device hour")


def _counts(budget: Budget) -> tuple[tuple[int | None, str], ...]:
    return (budget.n_trials, "trial"), (budget.epochs, "epoch")


def what_was_cut(
    definition: StudyDefinition,
    trials: Iterable[TrialRecord],
    *,
    spent: Spent,
    plan: FinishPlan | None,
    n_contenders: int,
    early_end: EarlyEnd | None,
) -> tuple[str, ...]:
    """Return what a budget left out of a study, one line for the search and one for the finish; empty if nothing.

    An open stage has what it is given: nothing of it is left out.

    Args:
        definition: The study.
        trials: Its search trials, all ended.
        spent: What it has cost.
        plan: The finish as it was carried out, None for none.
        n_contenders: Configurations that there were to confirm.
        early_end: Why the search ended before all its trials, None if it did not; a budget is then not to blame.
    """
    if definition.budget == Budget():
        return ()
    records = list(trials)
    n_by_stage = Counter(record.stage for record in records)
    stages = definition.stages
    if early_end is not None:  # further trials of the last stage could not pay; or the user wanted no more of any
        stages = stages[:-1] if early_end.outlook is not None else ()
    counted = {stage.name: stage.n_trials for stage in stages if stage.n_trials is not None}
    n_stopped = sum(record.state is TrialState.STOPPED and record.stage in counted for record in records)
    short = [
        f"{name} has {n_by_stage[name]} of {n_trials} trials"
        for name, n_trials in counted.items()
        if n_by_stage[name] < n_trials
    ]
    if n_stopped:
        short.append(f"{n_stopped} of them stopped under way")
    lines = []
    if short:
        used = f"{spent.wall_seconds / 3600.0:.4g} hours, {spent.device_seconds / 3600.0:.4g} device hours"
        used += f", {sum(record.n_trained for record in records):,} epochs of trials"
        was_kept = not n_stopped and _was_kept(definition, records, n_by_stage)
        why = "was shared out beforehand, and later stages needed less than was kept for them"
        told = f"The budget ({budget_words(definition.budget)}) {why if was_kept else 'did not reach for all'}"
        lines.append(f"{told}: {', '.join(short)}. Spent: {used}.")
    finish = definition.finish
    if finish is None or plan is None:
        return tuple(lines)
    if plan.n_seeds < finish.n_seeds or plan.top_k < min(finish.top_k, n_contenders):
        wanted = f"{finish.top_k} configurations over {finish.n_seeds} seeds"
        done = f"{plan.top_k} confirmed over {plan.n_seeds}" if plan.top_k else "the best trial not confirmed"
        lines.append(f"The budget left less for the finish than {wanted}: {done}, {plan.n_refits} refitted.")
    return tuple(lines)


def _was_kept(definition: StudyDefinition, records: Sequence[TrialRecord], n_by_stage: Mapping[str, int]) -> bool:
    """Whether epochs were kept for later stages that did not need them: there are some left, and no other bound."""
    budget, last = definition.budget, definition.stages[-1]
    is_bounded_else = budget.hours or budget.device_hours or len(records) == budget.n_trials
    n_epochs = sum(record.n_trained for record in records)
    is_all_there = n_by_stage[last.name] == last.n_trials
    return bool(budget.epochs and not is_bounded_else and n_epochs < budget.epochs and is_all_there)

"""What is left of a study, how long it will take, and what of it the budget will leave out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from search.budget import Allowance, affordable_finish, allowances, end_shares, stage_quotas
from search.forecast import Cost, Load, Pace, cost, expected_epochs, finish_loads, measured_pace
from search.study_definition import StudyDefinition
from search.study_record import Spent, StageOpening, StudyForecast
from search.trial import TrialRecord


def recorded_pace(spent: Spent) -> Pace:
    """Return how fast a study has trained, on the workers of its latest session."""
    return measured_pace(
        spent,
        n_occupied=0,
        n_workers=max(1, spent.n_workers),
        devices_per_worker=spent.device_seconds / spent.worker_seconds if spent.worker_seconds > 0.0 else 1.0,
    )


def study_forecast(
    definition: StudyDefinition,
    *,
    openings: Sequence[StageOpening],
    trials: Iterable[TrialRecord],
    spent: Spent,
    pace: Pace,
) -> StudyForecast | None:
    """Return how long the rest of a study takes, or None if nothing is known of its pace or no stage has opened.

    Args:
        definition: The study.
        openings: Its stages opened so far; the last one is under way.
        trials: Its search trials; those that have not ended, stragglers of earlier stages included, are to be trained
            from their beginning.
        spent: What it has cost so far.
        pace: How fast it trains.
    """
    if math.isnan(pace.seconds_per_epoch) or not openings:
        return None
    trials = tuple(trials)
    stragglers = _stragglers(definition, openings[-1], trials)
    remaining = _remaining(definition, openings[-1], trials)
    bounds = allowances(
        definition.budget,
        spent=spent,
        finish=definition.finish,
        max_epochs=definition.stages[-1].max_epochs,
        pace=pace,
    )
    fitting = _fitting([each.load for each in remaining], bounds, definition, stragglers=stragglers, pace=pace)
    finish, finish_is_cut = _finish(definition, bounds, searching=cost((*stragglers, *fitting), pace), pace=pace)
    whole = cost((*stragglers, *fitting, *finish), pace)
    return StudyForecast(
        stage=openings[-1].name,
        stage_seconds=cost((*stragglers, *fitting[:1]), pace).wall_seconds,
        study_seconds=whole.wall_seconds,
        device_seconds=whole.device_seconds,
        n_workers=pace.n_workers,
        left_out={
            each.name: each.n_planned - load.n_runs
            for each, load in zip(remaining, fitting, strict=True)
            if each.n_planned > load.n_runs
        },
        finish_is_cut=finish_is_cut,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remaining:
    """What is left of a stage: the trials that were planned, and the load that a budget of trials leaves of them."""

    name: str
    n_planned: int
    load: Load


def _stragglers(definition: StudyDefinition, opening: StageOpening, trials: Sequence[TrialRecord]) -> list[Load]:
    """Return what has not ended of each stage before the one under way; its workers are not free for that one yet."""
    running = Counter(each.stage for each in trials if not each.state.is_finished)
    return [
        Load(n_runs=running[stage.name], n_epochs=stage.max_epochs)
        for stage in definition.stages[: opening.index]
        if running[stage.name]
    ]


def _remaining(definition: StudyDefinition, opening: StageOpening, trials: Iterable[TrialRecord]) -> list[_Remaining]:
    """Return what is left of the stage under way and of each one after it."""
    ended = [each.n_trained for each in trials if each.stage == opening.name and each.state.is_finished]
    found = []
    stages = definition.stages[opening.index :]
    quotas = stage_quotas(definition.budget, stages, first_trial_number=opening.first_trial_number)
    for index, (stage, quota) in enumerate(zip(stages, quotas, strict=True)):
        done = [] if index else ended
        n_epochs = expected_epochs(n_finished=len(done), n_epochs=sum(done), max_epochs=stage.max_epochs)
        load = Load(n_runs=max(0, quota - len(done)), n_epochs=n_epochs)
        found.append(_Remaining(name=stage.name, n_planned=stage.n_trials - len(done), load=load))
    return found


def _fitting(
    loads: Sequence[Load],
    bounds: Sequence[Allowance],
    definition: StudyDefinition,
    *,
    stragglers: Sequence[Load],
    pace: Pace,
) -> list[Load]:
    """Return of each stage's load what its part of the time allows; all of it, if all of it fits."""
    planned = cost((*stragglers, *loads), pace)
    if not any(each.of(planned) > each.search_left_seconds for each in bounds):
        return list(loads)
    shares = end_shares(definition.stages)[-len(loads) :]
    fitting: list[Load] = []
    for load, share in zip(loads, shares, strict=True):
        used = cost((*stragglers, *fitting), pace)
        single = Load(n_runs=1, n_epochs=load.n_epochs)
        n_fit = min(
            math.floor((each.part_left_seconds(share) - each.of(used)) / _seconds_a_run(single, each, pace))
            for each in bounds
        )
        fitting.append(replace(load, n_runs=max(0, min(load.n_runs, n_fit))))
    return fitting


def _seconds_a_run(single: Load, bound: Allowance, pace: Pace) -> float:
    """Return what one run of many adds to a kind of time: workers share the wall time of their runs."""
    seconds = bound.of(cost((single,), pace))
    return seconds / pace.n_workers if bound.name == "hours" else seconds


def _finish(
    definition: StudyDefinition, bounds: Sequence[Allowance], *, searching: Cost, pace: Pace
) -> tuple[Sequence[Load], bool]:
    """Return the load of the finish that is left for after the search, and whether it is less than what is wanted."""
    settings, max_epochs = definition.finish, definition.stages[-1].max_epochs
    if settings is None:
        return (), False
    after = [replace(each, spent_seconds=each.spent_seconds + each.of(searching)) for each in bounds]
    plan = affordable_finish(settings, after, n_contenders=settings.top_k, max_epochs=max_epochs, pace=pace)
    return finish_loads(plan, max_epochs=max_epochs), plan.n_refits < settings.n_seeds

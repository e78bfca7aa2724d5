"""What is left of a study, how long it will take, and what of it the budget will leave out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from search.budget import Allowance, affordable_finish, allowances
from search.forecast import Cost, Load, Pace, cost, expected_epochs, finish_loads, measured_pace
from search.stage_shares import StagePart, planned_epochs, stage_part, stage_quotas
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
        n_epochs=sum(each.n_trained for each in trials if each.state.is_finished),  # the others are yet to be trained
        finish=definition.finish,
        max_epochs=definition.longest_epochs,
        pace=pace,
    )
    fitting = _fitting(remaining, bounds, stragglers=stragglers, pace=pace)
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
            if each.n_planned is not None and each.n_planned > load.n_runs
        },
        finish_is_cut=finish_is_cut,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remaining:
    """What is left of a stage.

    Attributes:
        name: The stage's.
        part: Its part of the budget.
        n_planned: Trials that were planned; None for as many as the budget allows.
        n_runs: Those that a budget of trials leaves of them; None for any number.
        n_epochs: Epochs that each is expected to take.
    """

    name: str
    part: StagePart
    n_planned: int | None
    n_runs: int | None
    n_epochs: float

    @property
    def load(self) -> Load:
        """All of it that is counted."""
        return Load(n_runs=self.n_runs or 0, n_epochs=self.n_epochs)


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
    planned = planned_epochs(definition.stages)[opening.index :]
    quotas = stage_quotas(definition.budget, stages, first_trial_number=opening.first_trial_number)
    for index, (stage, quota) in enumerate(zip(stages, quotas, strict=True)):
        done = [] if index else ended
        n_epochs = expected_epochs(n_finished=len(done), n_epochs=sum(done), max_epochs=stage.max_epochs)
        if not done and stage.n_trials is not None:
            n_epochs = planned[index] / stage.n_trials
        remaining = _Remaining(
            name=stage.name,
            part=stage_part(definition.stages, opening.index + index),
            n_planned=None if stage.n_trials is None else stage.n_trials - len(done),
            n_runs=None if quota is None else max(0, quota - len(done)),
            n_epochs=n_epochs,
        )
        found.append(remaining)
    return found


def _fitting(
    remaining: Sequence[_Remaining], bounds: Sequence[Allowance], *, stragglers: Sequence[Load], pace: Pace
) -> list[Load]:
    """Return of each stage's load what its part of the budget allows; all that is planned, if it fits."""
    planned = cost((*stragglers, *(each.load for each in remaining if each.n_planned is not None)), pace)
    all_fits = not any(bound.of(planned) > bound.part_left(remaining[0].part.planned_share) for bound in bounds)
    fitting: list[Load] = []
    for each in remaining:
        if all_fits and each.n_planned is not None:
            fitting.append(each.load)
            continue
        used = cost((*stragglers, *fitting), pace)
        single = Load(n_runs=1, n_epochs=each.n_epochs)
        n_fit = [
            math.floor((bound.part_left(each.part.end_share) - bound.of(used)) / _price_of_a_run(single, bound, pace))
            for bound in bounds
        ]
        n_runs = min([*n_fit, *([] if each.n_runs is None else [each.n_runs])])
        fitting.append(replace(single, n_runs=max(0, n_runs)))
    return fitting


def _price_of_a_run(single: Load, bound: Allowance, pace: Pace) -> float:
    """Return what one run of many adds to what is bounded: workers share the wall time of their runs."""
    price = bound.of(cost((single,), pace))
    return price / pace.n_workers if bound.name == "hours" else price


def _finish(
    definition: StudyDefinition, bounds: Sequence[Allowance], *, searching: Cost, pace: Pace
) -> tuple[Sequence[Load], bool]:
    """Return the load of the finish that is left for after the search, and whether it is less than what is wanted."""
    settings, max_epochs = definition.finish, definition.longest_epochs
    if settings is None:
        return (), False
    after = [replace(each, spent=each.spent + each.of(searching)) for each in bounds]
    plan = affordable_finish(settings, after, n_contenders=settings.top_k, max_epochs=max_epochs, pace=pace)
    return finish_loads(plan, max_epochs=max_epochs), plan.n_refits < settings.n_refits

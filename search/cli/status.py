"""Where a study is: its stages, its trials by state, its best."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.budget_words import budget_words
from search.cli import figures
from search.cli.console import plain_table, stores, unbroken
from search.cli.device_line import device_line
from search.cli.edges_view import edge_parts, edges_plain
from search.cli.fitted_columns import GAP, Column, fitted, width_of
from search.cli.forecast_words import forecast_line, spent_words
from search.cli.front import front_of, infeasible_line
from search.cli.portfolio_table import portfolio_plain, portfolio_table
from search.recorded_best import best_of, fruitless_words, winner, winners_violation
from search.study_definition import Budget
from search.study_forecast import recorded_pace, study_forecast
from search.study_record import ScoredTrial, StudyForecast, StudyRecord, StudyState
from search.trial import TrialState

_SHOWN_STATES = (
    *(TrialState.COMPLETE, TrialState.STOPPED_EARLY, TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED),
    *(TrialState.STOPPED, TrialState.RUNNING, TrialState.INTERRUPTED),
)

_LEAST_FOR_STATES = 24
"""Characters that the states of a stage get at least where they stand in words."""


def status_report(record: StudyRecord, *, width: int = 80) -> RenderableType:
    """Return a study's state for people, in as many columns of a terminal."""
    name = record.definition.study
    parts: list[RenderableType] = [Text.assemble((f"Study {name}", "bold"), f"  {record.state.value}")]
    if record.state is StudyState.UNFINISHED:
        parts.append(unbroken(f"  {fruitless_words(record) or f'`zeroin resume {name}` continues it'}"))
    parts.extend([stores(record.storage, record.tracking_uri, indent=2)])
    parts.extend(
        [unbroken(f"  trials    {record.directory}", style="dim"), Text(""), _stages_table(record, width=width)]
    )
    spent_on = portfolio_table(record)
    if spent_on is not None:
        parts.extend(
            [Text("\nSpent on (improvements of the best reward, in its distances from the median):"), spent_on]
        )
    if record.early_end is not None:
        parts.append(Text(f"\nThe search ended early: {record.early_end.reason}"))
    parts.extend(_time(record))
    if record.device_use:
        parts.append(Text(f"\nDevices: {device_line(record.device_use)}"))
    best = winner(record)
    if best is not None and best.score is not None:
        monitor, score = record.definition.objective.monitor, best.score
        line = (
            f"\nBest: #{best.record.number}, {monitor} {figures.metric(score.best_value)} at epoch {score.best_epoch}"
        )
        parts.append(Text(f"{line}, gap {figures.gap(score.gap_at_best)}"))
        infeasible = infeasible_line(record)
        parts.extend([] if infeasible is None else [infeasible])
        if front := front_of(record):
            parts.append(Text(f"Pareto front: {figures.count(len(front), 'trial')}"))
        parts.append(unbroken(f"`zeroin best {name}` has all of it"))
    parts.extend(edge_parts(record))
    return Group(*parts)


def status_plain(record: StudyRecord) -> dict[str, Any]:
    """Return a study's state as plain data."""
    best = winner(record)
    return {
        "study": record.definition.study,
        "state": record.state.value,
        "n_trials": record.definition.n_trials,
        "n_finished": sum(trial.record.state.is_finished for trial in record.trials),
        "stages": [_stage_plain(record, index) for index in range(len(record.definition.stages))],
        "best_trial": None if best is None else best.record.number,
        "best_reward": None if best is None or best.score is None else best.score.reward,
        **_standing_plain(record),
        **({"portfolio": spent_on} if (spent_on := portfolio_plain(record)) else {}),
        "storage": record.storage,
        "tracking_uri": record.tracking_uri,
        "directory": record.directory,
        "seconds": record.spent.wall_seconds,
        "device_seconds": record.spent.device_seconds,
        "seconds_left": None if (forecast := _forecast(record)) is None else forecast.study_seconds,
        "ended_early": None if record.early_end is None else dataclasses.asdict(record.early_end),
        "crowded_edges": edges_plain(record.result),
        "n_epochs": None if record.result is None else dict(record.result.n_epochs),
        "device_use": dict(record.device_use),
        "n_test_readings": 0 if record.result is None else record.result.n_test_readings,
    }


def _standing_plain(record: StudyRecord) -> dict[str, Any]:
    """Return what constraints and several objectives add; nothing for a study without them."""
    objective = record.definition.objective
    plain: dict[str, Any] = {"front": [trial.record.number for trial in front_of(record)]} if objective.further else {}
    if objective.constraints:
        plain["none_is_feasible"] = winners_violation(record) > 0.0
    return plain


def _time(record: StudyRecord) -> list[RenderableType]:
    """Return what the study has cost, of which budget, and what is still to come."""
    if not record.spent.n_epochs:
        return []
    budget, forecast = record.definition.budget, _forecast(record)
    words = f" of a budget of {budget_words(budget)}" if budget != Budget() else ""
    if budget.epochs is not None:  # runs of the finish, and what a crash had trained again, are no part of it
        words = f", {sum(trial.record.n_trained for trial in record.trials):,} of them by trials{words}"
    lines = [f"\nSpent: {spent_words(record.spent)}{words}"]
    if forecast is not None:
        lines.append(f"F{forecast_line(forecast, budget)[1:]}")
    return [Text(line) for line in lines]


def _forecast(record: StudyRecord) -> StudyForecast | None:
    """Return how long the rest will take while stages are under way; the finish is too short to be worth one."""
    if record.result is not None or record.finish_has_begun or record.early_end is not None:
        return None
    return study_forecast(
        record.definition,
        openings=record.openings,
        trials=[trial.record for trial in record.trials],
        spent=record.spent,
        pace=recorded_pace(record.spent),
    )


def _stage_plain(record: StudyRecord, index: int) -> dict[str, Any]:
    stage = record.definition.stages[index]
    trials = _trials_of(record, stage.name)
    states = Counter(trial.record.state for trial in trials)
    best = _best_reward(record, trials)
    return {
        "name": stage.name,
        "opened": any(opening.index == index for opening in record.openings),
        "n_trials": stage.n_trials,
        "n_finished": sum(trial.record.state.is_finished for trial in trials),
        "states": {state.value: states[state] for state in _SHOWN_STATES if states[state]},
        "n_epochs": sum(trial.record.n_trained for trial in trials),
        "n_promoted": sum(bool(trial.record.continues) and not trial.record.action for trial in trials),
        "best_reward": None if math.isnan(best) else best,
    }


def _stages_table(record: StudyRecord, *, width: int) -> Table:
    """Return a line for each stage, with a column for each state, or with all states in one where that is too wide."""
    stages = record.definition.stages
    plain = [_stage_plain(record, index) for index in range(len(stages))]
    columns: list[Column] = [
        ("stage", "left", [stage.name for stage in stages]),
        ("done", "right", [figures.done_of(p["n_finished"], s.n_trials) for p, s in zip(plain, stages, strict=True)]),
    ]
    if any(stage.promote for stage in stages):
        promoted = [f"{p['n_promoted']}/{stage.promote}" for p, stage in zip(plain, stages, strict=True)]
        columns.append(("promoted", "right", promoted))
    best = [figures.MISSING if (b := p["best_reward"]) is None else figures.metric(b) for p in plain]
    totals: list[Column] = [
        ("epochs", "right", [f"{each['n_epochs']:,}" for each in plain]),
        ("best reward", "right", best),
    ]
    shown, _ = fitted([*columns, *_state_columns(plain), *totals], width=width, names="stage")
    if width_of(shown) > width:
        shown, _ = fitted([*columns, *totals], width=width - _LEAST_FOR_STATES - GAP, names="stage")
        shown.append(("states", "left", [_states_in_words(each["states"]) for each in plain]))
    table = plain_table([(title, justify) for title, justify, _ in shown])
    table.columns[0].no_wrap = True
    for each, cells in zip(plain, zip(*(cells for _, _, cells in shown), strict=True), strict=True):
        table.add_row(Text(cells[0], style="" if each["opened"] else "dim"), *cells[1:])
    return table


def _state_columns(plain: Sequence[Mapping[str, Any]]) -> list[Column]:
    present = [state.value for state in _SHOWN_STATES if any(state.value in each["states"] for each in plain)]
    return [
        (state.replace("_", " "), "right", [str(each["states"].get(state, 0)) for each in plain]) for state in present
    ]


def _states_in_words(states: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in states.items()) or figures.MISSING


def _trials_of(record: StudyRecord, stage: str) -> list[ScoredTrial]:
    return [trial for trial in record.trials if trial.record.stage == stage]


def _best_reward(record: StudyRecord, trials: list[ScoredTrial]) -> float:
    successful = [trial for trial in trials if trial.record.state.is_fully_trained]
    best = best_of(successful, objective=record.definition.objective)
    return math.nan if best is None or best.score is None else best.score.reward

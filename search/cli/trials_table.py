"""The table of a study's trials, one line each, as wide as the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from lightning_modules.callbacks.metric_names import gap_name
from search.cli import figures
from search.cli.console import heading, indented, pairs, plain_table, state_text
from search.cli.fitted_columns import Column, fitted, width_of
from search.cli.rows import continued_number
from search.diagnosis import Verdict, diagnose
from search.study_definition import Objective
from search.study_record import ScoredTrial, StudyRecord
from search.trial import Score, TrialState

_EXPLAINED = (TrialState.FAILED, TrialState.DIVERGED, TrialState.INTERRUPTED)
"""States that call for an explanation; why a trial was pruned or stopped is in the other formats."""

_MAX_REASON = 240
_MAX_LISTED = 8
_GIVING_WAY = ("action", "time", "continues", "kept", "gap", "epochs")
"""Columns that are left out where there is no room, the least important first."""


def trials_table(record: StudyRecord, trials: Sequence[ScoredTrial], *, width: int) -> RenderableType:
    """Return one line per trial, with as much of what was measured, and as many hyperparameters, as there is room for.

    Args:
        record: The study.
        trials: Those of its trials to show, in order.
        width: Columns of the terminal.
    """
    if not trials:
        return Text("No trials.")
    columns, hidden = fitted(_figure_columns(record, trials), width=width, names="stage", giving_way=_GIVING_WAY)
    is_full = bool(hidden)
    for column in (*_measured_columns(record.definition.objective, trials), *_setting_columns(record, trials)):
        is_full = is_full or width_of([*columns, column]) > width
        if is_full:
            hidden.append(column[0])
        else:
            columns.append(column)
    table = plain_table([(title, justify) for title, justify, _ in columns])
    for each in table.columns:
        each.no_wrap = True
    styles = {trial.record.state.value: state_text(trial.record.state) for trial in trials}
    for cells in zip(*(cells for _, _, cells in columns), strict=True):
        table.add_row(*(styles.get(cell, cell) for cell in cells))
    parts: list[RenderableType] = [table]
    if hidden:
        parts.append(Text(f"\nNo room here for {', '.join(hidden)}: --format csv has every column.", style="dim"))
    return Group(*parts, *_explanations(trials), *_diagnoses(trials, record.definition.objective))


def short_names(names: Sequence[str]) -> list[str]:
    """Return the last part of each dotted name, or the whole name where two would be alike."""
    tails = Counter(name.rpartition(".")[2] for name in names)
    return [tail if tails[tail := name.rpartition(".")[2]] == 1 else name for name in names]


def _figure_columns(record: StudyRecord, trials: Sequence[ScoredTrial]) -> list[Column]:
    objective = record.definition.objective
    scores = [trial.score for trial in trials]
    columns: list[Column] = [
        ("#", "right", [figures.MISSING if t.record.number is None else str(t.record.number) for t in trials]),
        ("stage", "left", [_stage_of(trial) for trial in trials]),
        ("state", "left", [trial.record.state.value for trial in trials]),
        ("epochs", "right", [f"{len(trial.record.epochs)}/{trial.record.n_epochs}" for trial in trials]),
        (objective.monitor, "right", [figures.MISSING if s is None else figures.metric(s.best_value) for s in scores]),
        ("gap", "right", [figures.MISSING if s is None else figures.gap(s.gap_at_best) for s in scores]),
    ]
    if any(trial.record.continues for trial in trials):
        numbers = [continued_number(trial.record) for trial in trials]
        columns.insert(1, ("continues", "right", [figures.MISSING if n is None else str(n) for n in numbers]))
    if any(trial.record.action for trial in trials):
        columns.insert(2, ("action", "left", [trial.record.action or figures.MISSING for trial in trials]))
    if objective.gap_weight:
        rewards = [figures.MISSING if score is None else figures.metric(score.reward) for score in scores]
        columns.append(("reward", "right", rewards))
    if objective.constraints:
        columns.append(("kept", "left", [_kept(score) for score in scores]))
    return [*columns, ("time", "right", [_seconds(trial) for trial in trials])]


def _setting_columns(record: StudyRecord, trials: Sequence[ScoredTrial]) -> list[Column]:
    names = record.definition.space.names
    return [
        (title, "right", [_setting_of(trial, name) for trial in trials])
        for name, title in zip(names, short_names(names), strict=True)
    ]


def _measured_columns(objective: Objective, trials: Sequence[ScoredTrial]) -> list[Column]:
    """Return what further objectives and constraints are about, but for the gap."""
    names = [name for name in objective.measured_metrics if name != gap_name(objective.monitor)]
    columns: list[Column] = []
    for name in names:
        values = [math.nan if trial.score is None else trial.score.measured[name] for trial in trials]
        columns.append((name, "right", [figures.measured(name, value) for value in values]))
    return columns


def _kept(score: Score | None) -> str:
    if score is None:
        return figures.MISSING
    return "no" if score.violation > 0.0 else "yes"


def _stage_of(trial: ScoredTrial) -> str:
    """Return its stage, and what it is beside that.

    One that was sampled outside the stage's ranges is no sign of where these are, nor is one of a warm start.
    """
    record = trial.record
    notes = ("outside" if record.is_outside else "", "warm start" if record.origin else "")
    return ", ".join([record.stage, *filter(None, notes)])


def _seconds(trial: ScoredTrial) -> str:
    if trial.record.finished_ms is None:
        return figures.MISSING
    seconds = (trial.record.finished_ms - trial.record.started_ms) / 1000.0
    return f"{seconds:.1f} s" if seconds < 60 else figures.duration(seconds)


def _setting_of(trial: ScoredTrial, name: str) -> str:
    value = trial.record.hyperparameters.get(name)
    return figures.MISSING if value is None else figures.setting(value)


def _explanations(trials: Sequence[ScoredTrial]) -> list[RenderableType]:
    by_reason: dict[str, list[str]] = {}
    for trial in trials:
        if trial.record.reason and trial.record.state in _EXPLAINED:
            by_reason.setdefault(trial.record.reason, []).append(_name(trial))
    if not by_reason:
        return []
    return [
        heading("Failed, diverged and interrupted trials"),
        indented(pairs((_listed(numbers), _shortened(reason)) for reason, numbers in by_reason.items())),
    ]


def _diagnoses(trials: Sequence[ScoredTrial], objective: Objective) -> list[RenderableType]:
    by_verdict: dict[Verdict, list[str]] = {}
    for trial in trials:
        diagnosis = diagnose(trial.record, objective)
        if diagnosis is not None and diagnosis.verdict is not Verdict.TOO_SHORT:
            by_verdict.setdefault(diagnosis.verdict, []).append(_name(trial))
    if not by_verdict:
        return []
    lines = pairs((verdict, _listed(by_verdict[verdict])) for verdict in Verdict if verdict in by_verdict)
    return [
        heading("How they trained (the figures: --format csv, or the tag zeroin.diagnosis in MLflow)"),
        indented(lines),
    ]


def _name(trial: ScoredTrial) -> str:
    return trial.record.key if trial.record.number is None else f"#{trial.record.number}"


def _listed(numbers: Sequence[str]) -> str:
    shown = ", ".join(numbers[:_MAX_LISTED])
    return shown if len(numbers) <= _MAX_LISTED else f"{shown} and {len(numbers) - _MAX_LISTED} more"


def _shortened(reason: str) -> str:
    one_line = " ".join(reason.split())
    return one_line if len(one_line) <= _MAX_REASON else one_line[: _MAX_REASON - 1] + "…"

"""What several objectives and constraints add to the reports: the Pareto front, and which bounds a trial keeps."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from search.cli import figures
from search.cli.console import plain_table
from search.recorded_best import none_is_feasible, pareto_trials
from search.study_definition import Objective
from search.study_record import ScoredTrial, StudyRecord
from search.trial import Score


def front_of(record: StudyRecord) -> list[ScoredTrial]:
    """Return the Pareto front of a study with several objectives, the best reward first; empty for any other."""
    return pareto_trials(record.trials, objective=record.definition.objective)


def front_table(record: StudyRecord, front: Sequence[ScoredTrial], *, winner: ScoredTrial) -> Table:
    """Return one line for each trial of the front: what it comes to in each objective."""
    objective = record.definition.objective
    names = [each.monitor for each in objective.further]
    values = [(name, "right") for name in (objective.monitor, *names)]
    table = plain_table([("trial", "left"), ("stage", "left"), *values, ("", "left")])
    for trial in front:
        assert trial.score is not None
        table.add_row(
            f"#{trial.record.number}",
            trial.record.stage,
            figures.metric(trial.score.reward),
            *(figures.measured(name, trial.score.measured[name]) for name in names),
            "winner" if trial.record.key == winner.record.key else "",
        )
    return table


def measured_pairs(score: Score, objective: Objective) -> list[tuple[str, str | Text]]:
    """Return what the trial comes to in each further objective, and whether it keeps each constraint."""
    rows: list[tuple[str, str | Text]] = [
        (each.monitor, figures.measured(each.monitor, score.measured[each.monitor])) for each in objective.further
    ]
    for constraint, excess in zip(objective.constraints, score.excesses, strict=True):
        value = figures.measured(constraint.metric, score.measured[constraint.metric])
        rows.append((constraint.text, Text(f"{value}, broken", style="red") if excess > 0.0 else f"{value}, kept"))
    return rows


def infeasible_line(record: StudyRecord) -> Text | None:
    """Return the plain word that no trial keeps all constraints; None if one does."""
    if not none_is_feasible(record.trials, objective=record.definition.objective):
        return None
    return Text("No trial keeps all constraints; the best breaks them least.", style="red")

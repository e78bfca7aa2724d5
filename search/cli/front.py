"""What several objectives and constraints add to the reports: the Pareto front, and which bounds a trial keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from search.cli import figures
from search.cli.console import plain_table
from search.constraint import Constraint
from search.recorded_best import infeasible_words, pareto_trials
from search.reward import reward_name
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
    values = [(name, "right") for name in (reward_name(objective), *names)]
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


def measured_pairs(
    score: Score, objective: Objective, *, over_seeds: Mapping[str, float]
) -> list[tuple[str, str | Text]]:
    """Return what the trial comes to in each further objective, and whether it keeps each constraint.

    Args:
        score: Of the trial.
        objective: What is optimized.
        over_seeds: The means over its seeds, by metric; empty for a trial that was not confirmed.
    """
    rows: list[tuple[str, str | Text]] = [
        (each.monitor, figures.measured(each.monitor, score.measured[each.monitor])) for each in objective.further
    ]
    for constraint, excess in zip(objective.constraints, score.excesses, strict=True):
        words = _verdict(constraint, score.measured[constraint.metric], excess=excess)
        if constraint.metric in over_seeds:
            mean = over_seeds[constraint.metric]
            excess = constraint.excess(mean)
            words += f"; over seeds {_verdict(constraint, mean, excess=excess)}"
        rows.append((constraint.text, Text(words, style="red") if excess > 0.0 else words))
    return rows


def _verdict(constraint: Constraint, value: float, *, excess: float) -> str:
    return f"{figures.measured(constraint.metric, value)}, {'broken' if excess > 0.0 else 'kept'}"


def infeasible_line(record: StudyRecord) -> Text | None:
    """Return the plain word that the best breaks constraints; None if it keeps them."""
    words = infeasible_words(record)
    return Text(words, style="red") if words else None

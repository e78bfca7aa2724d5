"""The winner of a study: its hyperparameters, its score, how to use it and where its weights are."""

from __future__ import annotations

from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.text import Text

from search.cli import figures
from search.cli.confirmation_view import confirmation_parts, confirmed_plain
from search.cli.console import heading, indented, pairs, unbroken
from search.cli.edges_view import edge_parts, edges_plain
from search.cli.ensemble_view import ensemble_parts, ensemble_plain
from search.cli.front import front_of, front_table, infeasible_line, measured_pairs
from search.cli.registered_model import model_parts
from search.cli.rows import continued_number, trial_row
from search.cli.weights_view import weights_parts, weights_plain
from search.coordinator.assembly import assemble
from search.recorded_best import front_to_plain, winner, winners_violation
from search.reward import reward_name
from search.search_space import Hyperparameters
from search.study_definition import StudyDefinition
from search.study_record import ScoredTrial, StudyRecord
from search.trial import Score


def best_report(record: StudyRecord, *, width: int) -> RenderableType:
    """Return the winner for people.

    Args:
        record: The study.
        width: Columns of the terminal.
    """
    trial = winner(record)
    if trial is None:
        return Text("No finished trial with a finite score yet.")
    return Group(
        Text(f"Best of {figures.count(len(record.trials), 'trial')}: #{trial.record.number}", style="bold"),
        indented(pairs(score_pairs(record, trial))),
        *standing_parts(record, trial),
        *confirmation_parts(record, width=width),
        *ensemble_parts(record),
        *edge_parts(record),
        heading("Hyperparameters"),
        indented(settings(trial.record.hyperparameters)),
        heading("To use them, in a study file or with Lightning's command line"),
        *(unbroken(f"  {line}") for line in usage_yaml(record.definition, trial).splitlines()),
        *weights_parts(record, trial),
        *model_parts(record),
    )


def best_plain(record: StudyRecord) -> dict[str, Any] | None:
    """Return the winner as plain data, or None if there is none yet."""
    trial = winner(record)
    if trial is None:
        return None
    assert trial.score is not None
    return {
        "study": record.definition.study,
        "number": trial.record.number,
        "stage": trial.record.stage,
        "monitor": record.definition.objective.monitor,
        "reward": trial.score.reward,
        "best_value": trial.score.best_value,
        "best_epoch": trial.score.best_epoch,
        "gap_at_best": trial.score.gap_at_best,
        **_standing_plain(record, trial.score),
        "hyperparameters": dict(trial.record.hyperparameters),
        "usage": usage_plain(record.definition, trial),
        **weights_plain(record, trial),
        "registered_model": record.model_uri or None,
        "confirmed": confirmed_plain(record.result),
        "test_ensemble": None if record.result is None else dict(record.result.test_ensemble),
        "ensemble_gain": ensemble_plain(record.result),
        "crowded_edges": edges_plain(record.result),
        "test_members": None if record.result is None else [dict(member) for member in record.result.test_members],
    }


def best_rows(record: StudyRecord) -> list[dict[str, Any]]:
    """Return the trials of the Pareto front, else the winner, as flat rows; none if there is none yet."""
    trial = winner(record)
    best = front_of(record) or ([] if trial is None else [trial])
    return [trial_row(each, record.definition.objective) for each in best]


def standing_parts(record: StudyRecord, trial: ScoredTrial) -> list[RenderableType]:
    """Return the Pareto front that the winner is of, and the word that the winner breaks constraints, if so."""
    parts: list[RenderableType] = []
    if (line := infeasible_line(record)) is not None:
        parts.extend([Text(""), indented(line)])
    if front := front_of(record):
        first = reward_name(record.definition.objective)
        title = f"Pareto front ({figures.count(len(front), 'trial')}, best {first} first)"
        parts.extend([heading(title), indented(front_table(record, front, winner=trial))])
    return parts


def _standing_plain(record: StudyRecord, score: Score) -> dict[str, Any]:
    objective = record.definition.objective
    plain: dict[str, Any] = {"measured": dict(score.measured)} if score.measured else {}
    if objective.constraints:
        broken = winners_violation(record)
        plain |= {"feasible": not broken > 0.0, "violation": broken}
    return {**plain, "front": front_to_plain(front_of(record), objective=objective)} if objective.further else plain


def settings(hyperparameters: Hyperparameters) -> RenderableType:
    """Return hyperparameters one below the other."""
    return pairs((name, figures.setting(value)) for name, value in hyperparameters.items())


def score_pairs(record: StudyRecord, trial: ScoredTrial) -> list[tuple[str, str | Text]]:
    """Return a trial's score in words."""
    score, objective = trial.score, record.definition.objective
    assert score is not None
    rows: list[tuple[str, str | Text]] = [
        ("stage", trial.record.stage),
        *([("continues", f"#{continued_number(trial.record)}")] if trial.record.continues else []),
        (
            objective.monitor,
            f"{figures.metric(score.best_value)} at epoch {score.best_epoch} of {trial.record.n_epochs}",
        ),
        ("gap", f"{figures.gap(score.gap_at_best)} (train against validation; + is overfitting)"),
    ]
    if objective.gap_weight:
        rows.append(("reward", f"{figures.metric(score.reward)} ({figures.reward_rule(objective)})"))
    confirmations = () if record.result is None else record.result.confirmations
    over_seeds = [each.measured for each in confirmations if each.trial_number == trial.record.number]
    return [*rows, *measured_pairs(score, objective, over_seeds=over_seeds[0] if over_seeds else {})]


def usage_plain(definition: StudyDefinition, trial: ScoredTrial) -> dict[str, Any]:
    """Return the model, data and trainer sections with the trial's hyperparameters filled in."""
    assembly = assemble(definition, trial.record.hyperparameters)
    sections: dict[str, Any] = {"model": {"class_path": assembly.model_class, "init_args": dict(assembly.model_args)}}
    if assembly.data_class is not None:
        sections["data"] = {"class_path": assembly.data_class, "init_args": dict(assembly.data_args)}
    if assembly.trainer_args:
        sections["trainer"] = dict(assembly.trainer_args)
    return sections


def usage_yaml(definition: StudyDefinition, trial: ScoredTrial) -> str:
    """Return `usage_plain` as YAML."""
    text: str = yaml.safe_dump(usage_plain(definition, trial), sort_keys=False, default_flow_style=False, width=1000)
    return text

"""The winner of a study: its hyperparameters, its score, how to use it and where its weights are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.text import Text

from search.cli import figures
from search.cli.console import heading, indented, pairs, unbroken
from search.cli.rows import continued_number, winner
from search.coordinator.assembly import assemble
from search.search_space import Hyperparameters
from search.study_definition import StudyDefinition
from search.study_record import ScoredTrial, StudyRecord


def best_report(record: StudyRecord) -> RenderableType:
    """Return the winner for people."""
    trial = winner(record)
    if trial is None:
        return Text("No finished trial with a finite score yet.")
    return Group(
        Text(f"Best of {figures.count(len(record.trials), 'trial')}: #{trial.record.number}", style="bold"),
        indented(pairs(score_pairs(record, trial))),
        heading("Hyperparameters"),
        indented(settings(trial.record.hyperparameters)),
        heading("To use them, in a study file or with Lightning's command line"),
        *(unbroken(f"  {line}") for line in usage_yaml(record.definition, trial).splitlines()),
        heading("Weights"),
        *(unbroken(f"  {directory}") for directory in weight_directories(record, trial)),
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
        "hyperparameters": dict(trial.record.hyperparameters),
        "usage": usage_plain(record.definition, trial),
        "weights": weight_directories(record, trial),
        "test_ensemble": None if record.result is None else dict(record.result.test_ensemble),
        "test_members": None if record.result is None else [dict(member) for member in record.result.test_members],
    }


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
    return rows


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


def weight_directories(record: StudyRecord, trial: ScoredTrial) -> list[str]:
    """Return where weights are: the refitted members' directories, else the search trial's own."""
    keys = (record.result.refit_keys if record.result is not None else ()) or (trial.record.key,)
    return [str(Path(record.directory) / key) for key in keys]

"""A study's trials and ranges as flat rows: what tables and the machine-readable formats are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from search.diagnosis import diagnose
from search.reward import measured_name, rank_key
from search.samplers.appraisal import belief_figures
from search.search_space import Choices, Dimension, IntLogRange, IntRange, LinearRange, LogRange, OneMinusLogRange
from search.study_definition import Objective
from search.study_record import ScoredTrial, StageOpening, StudyRecord
from search.trial import Score, TrialRecord

SCALE_WORDS: dict[type, str] = {
    LogRange: "log",
    LinearRange: "linear",
    IntRange: "int",
    IntLogRange: "int_log",
    OneMinusLogRange: "one_minus_log",
    Choices: "choice",
}
"""The study file's word for each kind of range."""


def trial_columns(record: StudyRecord) -> list[str]:
    """Names of the columns of `trial_row`, the hyperparameters in the study file's order last."""
    objective = record.definition.objective
    return [
        *("number", "stage", "is_outside", "state", "reason", "reward", f"best_{objective.monitor}"),
        *("best_epoch", "gap_at_best", "n_epochs", "max_epochs", "seconds", "seed", "n_retries"),
        *("continues", "n_taken_over", "origin", "action", "diagnosis"),
        *map(measured_name, objective.measured_metrics),
        *(("violation",) if objective.constraints else ()),
        *dict.fromkeys(name for trial in record.trials for name in belief_figures(trial.record.beliefs)),
        *record.definition.space.names,
    ]


def trial_row(trial: ScoredTrial, objective: Objective) -> dict[str, Any]:
    """Return one trial as plain values; a figure that there is none of is None, a hyperparameter too."""
    record, score, monitor = trial.record, trial.score, objective.monitor
    finished_ms, diagnosis = record.finished_ms, diagnose(trial.record, objective)
    return {
        "number": record.number,
        "stage": record.stage,
        "is_outside": record.is_outside,
        "state": record.state.value,
        "reason": record.reason,
        "reward": None if score is None else score.reward,
        f"best_{monitor}": None if score is None or math.isnan(score.best_value) else score.best_value,
        "best_epoch": None if score is None or score.best_epoch == 0 else score.best_epoch,
        "gap_at_best": None if score is None or math.isnan(score.gap_at_best) else score.gap_at_best,
        "n_epochs": len(record.epochs),
        "max_epochs": record.n_epochs,
        "seconds": None if finished_ms is None else (finished_ms - record.started_ms) / 1000.0,
        "seed": record.seed,
        "n_retries": record.n_retries,
        "continues": continued_number(record),
        "n_taken_over": record.n_taken_over,
        "origin": record.origin,
        "action": record.action,
        "diagnosis": None if diagnosis is None else str(diagnosis),
        **({} if score is None else _measured(score)),
        **belief_figures(record.beliefs),
        **record.hyperparameters,
    }


def _measured(score: Score) -> dict[str, float | None]:
    """Return what further objectives and constraints are about, and how far it is from keeping the constraints."""
    row = {measured_name(name): None if math.isnan(value) else value for name, value in score.measured.items()}
    return {**row, "violation": score.violation} if score.excesses else row


def continued_number(record: TrialRecord) -> int | None:
    """Return the number of the trial that this one continues, or None if it is none's continuation."""
    return int(record.continues.rpartition("-")[2]) if record.continues else None


RANGE_COLUMNS = (
    *("stage", "name", "change", "before", "after", "reason", "scale", "low", "high", "zero_share", "choices"),
    *("cut_off", "figures"),
)


def range_rows(record: StudyRecord) -> list[dict[str, Any]]:
    """Return one row per opened stage and dimension, with the new range in figures and the reason for it."""
    return [row for opening in record.openings for row in _opening_rows(opening)]


def flat_range_rows(record: StudyRecord) -> list[dict[str, Any]]:
    """Return `range_rows` with its lists and mappings as text, for formats that have none."""
    return [
        {
            **row,
            "choices": None if row["choices"] is None else " | ".join(str(value) for value in row["choices"]),
            "figures": ", ".join(f"{name}={value!r}" for name, value in row["figures"].items()),
        }
        for row in range_rows(record)
    ]


def by_reward(trials: Iterable[ScoredTrial], *, objective: Objective) -> list[ScoredTrial]:
    """Return trials from the best to the worst; those without a reward last, in their order."""
    return sorted(
        trials,
        key=lambda trial: (trial.score is None, () if trial.score is None else rank_key(trial.score, objective)),
    )


def _opening_rows(opening: StageOpening) -> Iterable[dict[str, Any]]:
    for decision, dimension in zip(opening.narrowed.decisions, opening.narrowed.space, strict=True):
        yield {
            "stage": opening.name,
            "name": decision.name,
            "change": decision.change.value,
            "before": decision.before,
            "after": decision.after,
            "reason": decision.reason,
            **_bounds(dimension),
            "cut_off": decision.cut_off,
            "figures": dict(decision.figures),
        }


def _bounds(dimension: Dimension) -> dict[str, Any]:
    range_ = dimension.range
    figures: dict[str, Any] = {"low": None, "high": None, "choices": None}
    if isinstance(range_, Choices):
        figures["choices"] = list(range_.values)
    else:
        figures.update(low=range_.low, high=range_.high)
    return {"scale": SCALE_WORDS[type(range_)], "zero_share": dimension.zero_share, **figures}

"""Numbers and durations as people read them; full precision is for the machine-readable formats."""

from __future__ import annotations

import math
import time

from lightning_modules.callbacks.metric_names import N_PARAMETERS
from search.budget_words import as_many_words
from search.search_space import Value
from search.study_definition import EPOCH_SECONDS, Budget, Objective, SearchStage

MISSING = "-"
"""Stands for a figure that there is none of."""


def number(value: float) -> str:
    """Return a number with four significant digits; NaN becomes `MISSING`."""
    if math.isnan(value):
        return MISSING
    if isinstance(value, int):
        return str(value)
    return f"{value:.4g}"


def metric(value: float) -> str:
    """Return a metric with four decimals where that shows it, else with four significant digits."""
    if math.isnan(value):
        return MISSING
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000.0 or value == 0.0 else f"{value:.4g}"


def gap(value: float) -> str:
    """Return a generalization gap with its sign, which says overfitting (+) or not (-)."""
    return MISSING if math.isnan(value) else f"{value:+.4f}" if abs(value) < 1000.0 else f"{value:+.4g}"


def setting(value: Value) -> str:
    """Return a hyperparameter's value."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else number(value)


def duration(seconds: float) -> str:
    """Return a duration as its two leading units: ``48 s``, ``3 min 20 s``, ``2 h 5 min``, ``4 d 3 h``."""
    if not seconds >= 0.0:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for size, name, smaller, smaller_name in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name} {rest} {smaller_name}" if rest else f"{whole // size} {name}"
    raise AssertionError(seconds)


def clock(seconds: float) -> str:
    """Return an elapsed time as ``0:01:23``."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def local_time(time_ms: int) -> str:
    """Return a Unix time in milliseconds as local date and time, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(time_ms / 1000.0))


def count(n: int, noun: str) -> str:
    """Return ``1 trial`` or ``2 trials``; `noun` takes a plain s."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def done_of(n_done: int, n_trials: int | None) -> str:
    """Return ``3/12``; ``3`` where there are as many as a budget allows."""
    return str(n_done) if n_trials is None else f"{n_done}/{n_trials}"


def measured(name: str, value: float) -> str:
    """Return what a further objective or a constraint is about; parameters are counted, epochs take time."""
    if math.isfinite(value) and name == N_PARAMETERS:
        return f"{value:,.0f}"
    return f"{number(value)} s" if math.isfinite(value) and name == EPOCH_SECONDS else metric(value)


def further_objectives(objective: Objective) -> str:
    """Return ``gap_acc, less is better; n_parameters, less is better``."""
    words = ((each.monitor, "more" if each.direction.sign > 0 else "less") for each in objective.further)
    return "; ".join(f"{monitor}, {better} is better" for monitor, better in words)


def reward_rule(objective: Objective) -> str:
    """Return how trials are ranked: ``val_acc, more is better`` and the penalty, if there is one."""
    better = "more is better" if objective.direction.sign > 0 else "less is better"
    if not objective.gap_weight:
        return f"{objective.monitor}, {better}"
    sign = "-" if objective.direction.sign > 0 else "+"
    penalty = f"{number(objective.gap_weight)} x max(0, gap - {number(objective.gap_tolerance)})"
    return f"{objective.monitor} {sign} {penalty}, {better}"


def stage_words(stage: SearchStage, budget: Budget) -> str:
    """Return ``12 trials (2 to continue shorter ones), up to 24 epochs each, sampler tpe``."""
    trials = as_many_words(budget) if stage.n_trials is None else count(stage.n_trials, "trial")
    epochs = count(stage.max_epochs, "epoch")
    promote = f" ({stage.promote} to continue shorter ones)" if stage.promote else ""
    return f"{trials}{promote}, up to {epochs} each, sampler {stage.sampler}"

"""A forecast and a budget in words."""

from __future__ import annotations

from search.budget_words import budget_words
from search.cli import figures
from search.study_definition import Budget
from search.study_record import Spent, StudyForecast


def forecast_line(forecast: StudyForecast, budget: Budget) -> str:
    """Return how long the stage and the study will take, and what the budget is expected to leave out."""
    workers = figures.count(forecast.n_workers, "worker")
    line = (
        f"forecast for {workers}: stage {forecast.stage} takes about {figures.duration(forecast.stage_seconds)} more, "
        f"the study at most about {figures.duration(forecast.study_seconds)}"
    )
    if budget == Budget():
        return line
    left_out = [f"{figures.count(n, 'trial')} of {name}" for name, n in forecast.left_out.items()]
    if forecast.finish_is_cut:
        left_out.append("part of the finish")
    if not left_out:
        return f"{line}, within the budget of {budget_words(budget)}"
    return f"{line}; the budget of {budget_words(budget)} will leave out about {_listed(left_out)}"


def spent_words(spent: Spent) -> str:
    """Return what a study has cost."""
    devices = figures.duration(spent.device_seconds)
    return f"{figures.duration(spent.wall_seconds)}, {devices} of devices, {figures.count(spent.n_epochs, 'epoch')}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

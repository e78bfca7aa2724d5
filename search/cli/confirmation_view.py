"""The contenders over seeds, with how sure their rewards are: for people, and as plain data."""

from __future__ import annotations

import math
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from search.cli import figures
from search.cli.console import heading, indented, plain_table
from search.confidence import CONFIDENCE, seed_deviation
from search.study_record import Confirmation, StudyRecord, StudyResult

_SHARE = f"{100.0 * CONFIDENCE:.0f} %"


def confirmation_parts(record: StudyRecord) -> list[RenderableType]:
    """Return a table of the contenders and what it is to be read by; empty if nothing was confirmed."""
    result = record.result
    if result is None or not result.confirmations:
        return []
    return [
        heading("Confirmation over seeds"),
        indented(_confirmation_table(record, result)),
        indented(Text(certainty_line(result), style="dim")),
    ]


def certainty_line(result: StudyResult) -> str:
    """Return how much seeds differ, and what the winner's interval says; or why there is none."""
    noise = seed_deviation(each.rewards for each in result.confirmations)
    if noise is None:
        return "No intervals: with a single seed each, nothing is known of the noise between seeds."
    winner, others = result.confirmations[0], result.confirmations[1:]
    line = f"Noise between seeds: {figures.metric(noise)}, of all contenders' runs."
    if winner.interval is None:
        return line
    line += f" The winner's mean over all seeds lies in its interval with {_SHARE} confidence."
    rivals = [f"#{each.trial_number}" for each in others if _may_be_as_good(each, winner)]
    return f"{line} Not told apart from it: {', '.join(rivals)}." if rivals else line


def confirmed_plain(result: StudyResult | None) -> dict[str, Any] | None:
    """Return the contenders as JSON-able data, winner first, or None if nothing was confirmed."""
    if result is None or not result.confirmations:
        return None
    return {
        "confidence": CONFIDENCE,
        "seed_deviation": seed_deviation(each.rewards for each in result.confirmations),
        "contenders": [
            {
                "number": each.trial_number,
                "mean": each.mean,
                "low": None if each.interval is None else each.interval[0],
                "high": None if each.interval is None else each.interval[1],
                "rewards": list(each.rewards),
                "eliminated_after": each.eliminated_after,
            }
            for each in result.confirmations
        ],
    }


def _may_be_as_good(rival: Confirmation, winner: Confirmation) -> bool:
    """Whether a contender stayed to the end, and its interval and the winner's have values in common."""
    if rival.eliminated_after is not None or rival.interval is None or winner.interval is None:
        return False
    return rival.interval[0] <= winner.interval[1] and winner.interval[0] <= rival.interval[1]


def _confirmation_table(record: StudyRecord, result: StudyResult) -> Table:
    measured = record.definition.objective.measured_metrics
    means = [(f"mean\n{name}", "right") for name in measured]
    titles = [("trial", "left"), ("mean reward", "right"), (f"{_SHARE} interval", "left")]
    table = plain_table([*titles, *means, ("by seed", "left"), ("", "left")])
    for each in result.confirmations:
        is_winner = each.trial_number == result.best_trial_number
        outcome = "winner" if is_winner else ""
        if each.eliminated_after is not None:
            outcome = f"dropped after {figures.count(each.eliminated_after, 'run')}"
        if each.violation > 0.0:
            outcome = f"{outcome}, breaks constraints".removeprefix(", ")
        table.add_row(
            Text(f"#{each.trial_number}", style="bold green" if is_winner else ""),
            figures.metric(each.mean),
            _interval_text(each),
            *(figures.measured(name, each.measured.get(name, math.nan)) for name in measured),
            "  ".join(figures.metric(reward) for reward in each.rewards),
            Text(outcome, style="green" if is_winner else "dim"),
        )
    return table


def _interval_text(confirmation: Confirmation) -> str:
    if confirmation.interval is None:
        return figures.MISSING
    low, high = confirmation.interval
    return f"{figures.metric(low)} to {figures.metric(high)}"

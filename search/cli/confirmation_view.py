"""The contenders over seeds, with how sure their rewards are: for people, and as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.cli import figures
from search.cli.console import heading, indented, pairs, plain_table
from search.confidence import CONFIDENCE, repeated, seed_deviation
from search.study_record import Confirmation, StudyRecord, StudyResult

_SHARE = f"{100.0 * CONFIDENCE:.0f} %"

_MIN_WRAPPED_COLUMN = 14
"""Columns of text, two rewards beside each other, below which rewards and words break over too many lines."""


def confirmation_parts(record: StudyRecord, *, width: int) -> list[RenderableType]:
    """Return the contenders and what they are to be read by; empty if nothing was confirmed.

    Args:
        record: The study.
        width: Columns of the terminal; where a table of the contenders is too wide, they stand below each other.
    """
    result = record.result
    if result is None or not result.confirmations:
        return []
    return [
        heading("Confirmation over seeds"),
        indented(_contenders(record, result, width=width - 2)),
        indented(Text(certainty_line(result), style="dim")),
    ]


def certainty_line(result: StudyResult) -> str:
    """Return how much seeds differ, and what the winner's interval says; or why there is none."""
    noise = seed_deviation(each.rewards for each in result.confirmations)
    if noise is None:
        if not repeated(each.rewards for each in result.confirmations):
            return "No intervals: with a single seed each, nothing is known of the noise between seeds."
        return "No intervals: the same reward with each seed is no proof that there is no noise between seeds."
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
                "measured": dict(each.measured),
                "violation": each.violation,
            }
            for each in result.confirmations
        ],
    }


def _may_be_as_good(rival: Confirmation, winner: Confirmation) -> bool:
    """Whether a contender stayed to the end, and its interval and the winner's have values in common.

    One that breaks constraints is not as good as a winner that keeps them.
    """
    if rival.violation > 0.0 and not winner.violation > 0.0:
        return False
    if rival.eliminated_after is not None or rival.interval is None or winner.interval is None:
        return False
    return rival.interval[0] <= winner.interval[1] and winner.interval[0] <= rival.interval[1]


def _contenders(record: StudyRecord, result: StudyResult, *, width: int) -> RenderableType:
    """Return a table of the contenders, or a list of each one's figures where that is too wide."""
    measured = record.definition.objective.measured_metrics
    titles = ("trial", "mean reward", f"{_SHARE} interval", *(f"mean\n{name}" for name in measured), "by seed", "")
    rows = [_cells(each, result, measured) for each in result.confirmations]
    styles = ["green" if each.trial_number == result.best_trial_number else "" for each in result.confirmations]
    if _fits(titles, rows, width=width):
        return _table(titles, rows, styles)
    parts: list[RenderableType] = []
    for (number, *values, outcome), style in zip(rows, styles, strict=True):
        title = Text.assemble("\n", (number, f"bold {style}"), "  ", (outcome, style or "dim"))
        named = zip((title.replace("\n", " ") for title in titles[1:-1]), values, strict=True)
        parts.extend([title, indented(pairs(named))])
    return Group(*parts, Text(""))


def _cells(confirmation: Confirmation, result: StudyResult, measured: Sequence[str]) -> list[str]:
    outcome = "winner" if confirmation.trial_number == result.best_trial_number else ""
    if confirmation.eliminated_after is not None:
        outcome = f"dropped after {figures.count(confirmation.eliminated_after, 'run')}"
    if confirmation.violation > 0.0:
        outcome = f"{outcome}, breaks constraints".removeprefix(", ")
    return [
        f"#{confirmation.trial_number}",
        figures.metric(confirmation.mean),
        _interval_text(confirmation),
        *(figures.measured(name, confirmation.measured.get(name, math.nan)) for name in measured),
        "  ".join(figures.metric(reward) for reward in confirmation.rewards),
        outcome,
    ]


def _fits(titles: Sequence[str], rows: Sequence[Sequence[str]], *, width: int) -> bool:
    """Whether a table of these cells can be read, its last two columns broken at their blanks if need be."""
    columns = zip(titles, *rows, strict=True)
    widths = [max(len(line) for cell in column for line in cell.splitlines() or [""]) for column in columns]
    least = [*widths[:-2], *(min(each, _MIN_WRAPPED_COLUMN) for each in widths[-2:])]
    return sum(least) + 2 * (len(least) - 1) <= width


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]) -> Table:
    lefts = ("trial", f"{_SHARE} interval", *titles[-2:])
    table = plain_table([(title, "left" if title in lefts else "right") for title in titles])
    for column in table.columns[:-2]:
        column.no_wrap = True
    for (number, *values, outcome), style in zip(rows, styles, strict=True):
        table.add_row(
            Text(number, style=f"bold {style}" if style else ""), *values, Text(outcome, style=style or "dim")
        )
    return table


def _interval_text(confirmation: Confirmation) -> str:
    if confirmation.interval is None:
        return figures.MISSING
    low, high = confirmation.interval
    return f"{figures.metric(low)} to {figures.metric(high)}"

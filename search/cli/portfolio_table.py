"""What a study's trials were spent on by the sampler `portfolio`, and what it believes of each action."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from search.cli.console import plain_table
from search.portfolio import Account, accounts
from search.study_record import StudyRecord
from search.trial import FinishedTrial


def portfolio_table(record: StudyRecord) -> Table | None:
    """Return the account of each action, or None if there was no choice."""
    found = _accounts(record)
    if not found:
        return None
    titles = ("action", "trials", "epochs", "improved", "expected in 100 epochs")
    table = plain_table([(title, "right" if index else "left") for index, title in enumerate(titles)])
    for each in found:
        table.add_row(
            *(each.action, str(each.n_trials), f"{each.n_epochs:,}", f"{each.improvement:.2f}", f"{each.belief:.3f}")
        )
    return table


def portfolio_plain(record: StudyRecord) -> list[dict[str, Any]]:
    """Return the same as plain data; empty if there was no choice."""
    return [asdict(each) for each in _accounts(record)]


def _accounts(record: StudyRecord) -> list[Account]:
    finished = [
        FinishedTrial(record=each.record, score=each.score)
        for each in record.trials
        if each.record.state.is_finished and each.record.number is not None
    ]
    return accounts(sorted(finished, key=lambda each: each.record.number or 0), objective=record.definition.objective)

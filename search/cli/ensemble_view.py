"""What averaging gained on the test split: for people, and as plain data."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.text import Text

from search.cli.console import heading, indented
from search.study_record import StudyRecord, StudyResult


def ensemble_parts(record: StudyRecord) -> list[RenderableType]:
    """Return the gains over the best single member, one metric a line; empty if there is no ensemble."""
    result = record.result
    if result is None or not result.ensemble_gain:
        return []
    lines = [indented(Text(gain.in_words(name))) for name, gain in result.ensemble_gain.items()]
    return [heading(f"Ensemble ({_what(record, result)})"), *lines]


def _what(record: StudyRecord, result: StudyResult) -> str:
    finish, members = record.definition.finish, f"{len(result.test_members)} members"
    kind = members if finish is None else f"{finish.ensemble.value}: {members}"
    n_ensembles = max(len(each.by_seed) for each in result.ensemble_gain.values())
    return (
        kind
        if n_ensembles == 1
        else f"{kind} of {n_ensembles} refits; each refit is compared as an ensemble of its own"
    )


def ensemble_plain(result: StudyResult | None) -> dict[str, Any] | None:
    """Return the gains as JSON-able data by metric, None if there is no ensemble."""
    if result is None or not result.ensemble_gain:
        return None
    return {
        name: {
            "mean": gain.mean,
            "low": gain.low,
            "high": gain.high,
            "by_seed": list(gain.by_seed),
            "by_left_out": list(gain.by_left_out),
            "member_deviation": gain.member_deviation,
        }
        for name, gain in result.ensemble_gain.items()
    }

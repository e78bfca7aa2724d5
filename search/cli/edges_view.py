"""Edges of the last ranges at which the best trials crowd: for people, and as plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from search.cli.console import heading, indented
from search.study_record import StudyRecord, StudyResult


def edge_parts(record: StudyRecord) -> list[RenderableType]:
    """Return where the optimum may lie beyond the ranges, one dimension a line; empty if nowhere, or not known yet."""
    edges = () if record.result is None else record.result.crowded_edges
    if not edges:
        return []
    return [heading("Edges of the ranges"), *(indented(Text(each.reason, style="yellow")) for each in edges)]


def edges_plain(result: StudyResult | None) -> list[dict[str, Any]] | None:
    """Return the edges as JSON-able data, None as long as there is no result."""
    return None if result is None else [dataclasses.asdict(each) for each in result.crowded_edges]

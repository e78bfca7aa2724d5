"""Tables of studies and of their ranges; pure functions of the records."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.cli import figures
from search.cli.console import heading, indented, pairs, plain_table
from search.range_text import range_text
from search.study_record import RangeChange, RangeDecision, StageOpening, StudyRecord
from search.study_views import StudySummary

CHANGE_STYLES = {
    RangeChange.DECLARED: "dim",
    RangeChange.KEPT: "dim",
    RangeChange.NARROWED: "green",
    RangeChange.CHOICES_DROPPED: "green",
    RangeChange.EXTENDED: "yellow",
    RangeChange.SHIFTED: "yellow",
}

_MIN_STAGE_COLUMN = 16
"""Columns of text below which a range breaks over too many lines to be read beside others."""


def studies_table(summaries: Sequence[StudySummary]) -> RenderableType:
    """Return one line per study."""
    if not summaries:
        return Text(
            "No study here yet.\n"
            "  zeroin run digits   starts the built-in one\n"
            "  zeroin init NAME    writes a study file of your own to start from"
        )
    table = plain_table(
        [("study", "left"), ("state", "left"), ("trials", "right"), ("best reward", "right"), ("updated", "left")]
    )
    for each in summaries:
        if each.error:
            table.add_row(each.name, Text("unreadable", style="red"), *([figures.MISSING] * 3))
            continue
        best = figures.MISSING if each.best_reward is None else figures.metric(each.best_reward)
        updated = figures.MISSING if each.updated_ms is None else figures.local_time(each.updated_ms)
        table.add_row(each.name, each.state.value, figures.done_of(each.n_finished, each.n_trials), best, updated)
    unreadable = [(each.name, " ".join(each.error.split())) for each in summaries if each.error]
    return Group(table, heading("Unreadable studies"), indented(pairs(unreadable))) if unreadable else table


def ranges_story(record: StudyRecord, *, width: int) -> RenderableType:
    """Return the ranges stage by stage: a table of dimensions by stages, or a list where that is too wide."""
    openings = record.openings
    if not openings:
        return Text("No stage has been opened yet.")
    name_width = max(len(dimension.name) for dimension in record.definition.space)
    if (width - name_width - 2) // len(openings) - 2 >= _MIN_STAGE_COLUMN:
        return _ranges_grid(openings)
    return Group(*(part for opening in openings for part in (heading(opening.name), indented(_one_stage(opening)))))


def ranges_reasons(record: StudyRecord) -> RenderableType:
    """Return every decision at every stage border with its reason."""
    parts: list[RenderableType] = []
    for opening in record.openings:
        parts.append(heading(opening_title(record, opening)))
        if all(decision.change is RangeChange.DECLARED for decision in opening.narrowed.decisions):
            parts.append(indented(Text("The ranges of the study file.", style="dim")))
            continue
        for decision in opening.narrowed.decisions:
            parts.append(indented(_change_line(decision)))
            parts.append(indented(indented(Text(decision.reason, style="dim"))))
    return Group(*parts) if parts else Text("No stage has been opened yet.")


def opening_title(record: StudyRecord, opening: StageOpening) -> str:
    """Return a stage in words: its trials, epochs and sampler."""
    stage = record.definition.stages[opening.index]
    return f"Stage {opening.name}: {figures.stage_words(stage, record.definition.budget)}"


def opening_summary(opening: StageOpening, *, width: int) -> RenderableType:
    """Return what changed when a stage opened, in short: the changed ranges with reasons, then the names kept.

    Args:
        opening: The stage.
        width: Columns that there are; where a reason does not fit beside its range, reasons stand below, cut to a line.
    """
    changed = [each for each in opening.narrowed.decisions if _is_change(each)]
    kept = [each.name for each in opening.narrowed.decisions if each.change is RangeChange.KEPT]
    lines = [(_change_line(each), Text(f"  {each.reason}", style="dim")) for each in changed]
    is_wide = all(line.cell_len + reason.cell_len <= width for line, reason in lines)
    parts: list[RenderableType] = []
    for line, reason in lines:
        if is_wide:
            parts.append(line.append_text(reason))
        else:
            reason.truncate(width, overflow="ellipsis")
            parts.extend([line, reason])
    if kept:
        parts.append(Text(f"kept: {', '.join(kept)}", style="dim"))
    return Group(*parts)


def _is_change(decision: RangeDecision) -> bool:
    return decision.change not in (RangeChange.DECLARED, RangeChange.KEPT)


def _change_line(decision: RangeDecision) -> Text:
    line = Text()
    line.append(decision.name, style="bold")
    line.append(f"  {decision.change.value}", style=CHANGE_STYLES[decision.change])
    line.append(f"  {decision.before} → {decision.after}" if _is_change(decision) else f"  {decision.after}")
    if decision.cut_off:
        line.append("  at its hard limit", style="yellow")
    return line


def _ranges_grid(openings: Sequence[StageOpening]) -> Table:
    table = plain_table([("", "left"), *((opening.name, "left") for opening in openings)])
    table.columns[0].no_wrap = True
    for index, name in enumerate(openings[0].narrowed.space.names):
        cells = []
        for opening in openings:
            decision = opening.narrowed.decisions[index]
            is_kept = decision.change is RangeChange.KEPT
            shown = "kept" if is_kept else range_text(opening.narrowed.space[name])
            cells.append(Text(shown, style=CHANGE_STYLES[decision.change]))
        table.add_row(name, *cells)
    return table


def _one_stage(opening: StageOpening) -> Table:
    return pairs(
        (decision.name, Text(range_text(opening.narrowed.space[decision.name])))
        for decision in opening.narrowed.decisions
    )

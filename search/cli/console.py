"""How the commands write to the terminal, and the pieces that their tables share."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from search.trial import TrialState

STATE_STYLES = {
    TrialState.RUNNING: "cyan",
    TrialState.INTERRUPTED: "yellow",
    TrialState.COMPLETE: "green",
    TrialState.STOPPED_EARLY: "green",
    TrialState.PRUNED: "dim",
    TrialState.DIVERGED: "magenta",
    TrialState.FAILED: "red",
    TrialState.STOPPED: "yellow",
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would end the process, which is for the command line to decide


def make_console(
    *, file: TextIO | None = None, width: int | None = None, height: int | None = None, is_terminal: bool | None = None
) -> Console:
    """Return a console.

    Args:
        file: Where it writes, standard output if None.
        width: Columns, or None for the terminal's (80 where there is none and COLUMNS is unset).
        height: Lines, or None for the terminal's.
        is_terminal: Whether `file` is a terminal, None to find out.
    """
    return _Console(
        file=file, width=width, height=height, force_terminal=is_terminal, highlight=False, markup=False, emoji=False
    )


def show(console: Console, *parts: RenderableType) -> None:
    """Print parts one below the other; without a terminal, lines do not end in the blanks that fill a table."""
    if console.is_terminal:
        console.print(Group(*parts), crop=False)
        return
    with console.capture() as capture:
        console.print(Group(*parts), crop=False)
    for line in capture.get().splitlines():
        console.file.write(line.rstrip() + "\n")
    console.file.flush()


def warn(text: str) -> None:
    """Write a line to standard error, where it does not mix with a command's output."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def heading(text: str) -> Text:
    """Return the heading of a section, with an empty line above it."""
    return Text("\n" + text, style="bold")


def indented(part: RenderableType) -> Padding:
    """Return a part two columns to the right."""
    return Padding(part, (0, 0, 0, 2), expand=False)


def unbroken(text: str, *, style: str = "") -> Text:
    """Return a line that is never wrapped or cut: addresses, paths and commands are there to be copied.

    It must not be put into `indented` or a table, which cut at the terminal's edge.
    """
    return Text(text, style=style, no_wrap=True, overflow="ignore")


def pairs(items: Iterable[tuple[str, str | Text]]) -> Table:
    """Return names and values in two columns, without a border."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in items:
        table.add_row(name, value)
    return table


def store_lines(storage: str, tracking_uri: str | None = None) -> list[str]:
    """Return the addresses that a study's records are at, one a line."""
    return [f"storage   {storage}", *([] if tracking_uri is None else [f"tracking  {tracking_uri}"])]


def stores(storage: str, tracking_uri: str | None = None, *, indent: int = 0) -> Group:
    """Return `store_lines` for a console, `indent` columns to the right."""
    lines = store_lines(storage, tracking_uri)
    return Group(*(unbroken(" " * indent + line, style="dim") for line in lines))


def plain_table(columns: Sequence[tuple[str, str]]) -> Table:
    """Return an empty table without a border.

    Args:
        columns: Heading and justification (``left`` or ``right``) of each column; figures stand on the right.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    for title, justify in columns:
        right = justify == "right"
        table.add_column(title, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return table


def state_text(state: TrialState) -> Text:
    """Return a trial's state in its colour."""
    return Text(state.value, style=STATE_STYLES[state], no_wrap=True)

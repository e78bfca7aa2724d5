"""Progress on a terminal: lines that stay, above a few that are drawn anew once or twice a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from search.cli import figures
from search.cli.console import indented, make_console, stores
from search.cli.forecast_words import forecast_line
from search.cli.progress_plain import CHECKING, opening_line, phase_line, trial_name
from search.cli.progress_state import StudyProgress
from search.cli.progress_view import progress_lines
from search.cli.tables import opening_summary
from search.study_record import StageOpening, StudyForecast, StudyRecord, StudyResult
from search.trial import Score, TrialRecord, TrialState

_CLOCK_SECONDS = 1.0
_MIN_REFRESH_SECONDS = 0.5
"""Twice a second reads as live; more would cost time that belongs to the training."""


class LiveProgress:
    """A `StudyObserver` that draws; use it as a context manager.

    The coordinator's thread only notes what happened. A thread of the display's own draws it, so that many short epochs
    cost no more than few long ones, and the clock goes on while none ends.

    Attributes:
        was_opened: Whether a study was run at all (a finished one is only read).
    """

    def __init__(self, *, console: Console | None = None, now: Callable[[], float] = time.monotonic) -> None:
        """Draw on `console`, standard output if None; `now` is a clock in seconds that never goes back."""
        self.was_opened = False
        self._console = make_console() if console is None else console
        self._progress = StudyProgress(now=now)
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._failures: set[str] = set()
        self._to_print: list[RenderableType] = []
        self._live = Live(_View(self._lines), console=self._console, auto_refresh=False)
        self._thread = threading.Thread(target=self._draw_until_closed, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._changed.set()
        self._thread.join()

    def checking(self) -> None:
        """Say what takes the seconds before the study opens."""
        self._print(Text(CHECKING, style="dim"))

    def notice(self, text: str) -> None:
        self._print(Text.assemble(("note  ", "yellow"), text))

    def study_opened(self, record: StudyRecord, *, resumed: bool, n_workers: int) -> None:
        with self._lock:
            self.was_opened = True
            self._progress.open(record)
        self._print(
            Text(opening_line(record, resumed=resumed, n_workers=n_workers), style="bold"),
            stores(record.storage, record.tracking_uri, indent=2),
        )

    def stage_opened(self, opening: StageOpening) -> None:
        with self._lock:
            self._progress.open_stage(opening)
            definition = self._progress.definition
            assert definition is not None
            stage = definition.stages[opening.index]
        title = Text(f"\n{opening.name}", style="bold")
        title.append(f"  {figures.stage_words(stage, definition.budget)}", style="not bold dim")
        self._print(title, indented(opening_summary(opening, width=self._console.width - 2)))

    def trial_started(self, record: TrialRecord) -> None:
        with self._lock:
            self._progress.start(record)
        self._changed.set()

    def epoch_finished(self, record: TrialRecord) -> None:
        with self._lock:
            self._progress.advance(record)
        self._changed.set()

    def trial_finished(self, record: TrialRecord, score: Score | None) -> None:
        with self._lock:
            self._progress.finish(record, score)
        self._changed.set()
        reason = " ".join(record.reason.split())
        if record.state is TrialState.FAILED and reason not in self._failures:
            self._failures.add(reason)  # what fails once often fails again for the same reason: the count says so
            self._print(Text.assemble((f"{trial_name(record)} failed  ", "red"), reason))

    def forecast_made(self, forecast: StudyForecast) -> None:
        definition = self._progress.definition
        assert definition is not None
        self._print(Text(f"  {forecast_line(forecast, definition.budget)}", style="dim"))

    def phase_started(self, name: str, *, n_runs: int, n_epochs: int) -> None:
        with self._lock:
            self._progress.open_phase(name, n_runs=n_runs, n_epochs=n_epochs)
        self._print(Text("\n" + phase_line(name, n_runs=n_runs, n_epochs=n_epochs), style="bold"))

    def study_finished(self, record: StudyRecord, result: StudyResult) -> None:
        # The result that follows says more; after an interruption, the last view stays to tell how far it got.
        self._live.transient = True
        self._changed.set()

    def _print(self, *parts: RenderableType) -> None:
        with self._lock:
            self._to_print.extend(parts)
        self._changed.set()

    def _draw_until_closed(self) -> None:
        """Draw when something changed, and each second for the clock; a display that breaks leaves the study alone."""
        try:
            with self._live:
                while not self._closing.is_set():
                    self._changed.wait(_CLOCK_SECONDS)
                    self._changed.clear()
                    self._draw()
                    self._closing.wait(_MIN_REFRESH_SECONDS)
                self._draw()
        except OSError:
            # The terminal is gone; the study goes on and its records are complete.
            pass

    def _draw(self) -> None:
        with self._lock:
            parts, self._to_print = self._to_print, []
        if parts:
            self._console.print(Group(*parts), crop=False)
        elif self.was_opened:
            self._live.refresh()

    def _lines(self, *, width: int, height: int) -> list[Text]:
        with self._lock:
            if not self.was_opened:
                return []
            return progress_lines(self._progress, width=width, height=height)


class _View:
    """The live part, laid out for the terminal as it is at the moment of drawing."""

    def __init__(self, lines: Callable[..., list[Text]]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._lines(width=options.max_width, height=console.height)

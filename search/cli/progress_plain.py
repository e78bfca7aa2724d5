"""Progress as plain lines, one for each thing that happened: for log files and CI."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Self, TextIO

from search.budget_words import as_many_words
from search.cli import figures
from search.cli.forecast_words import forecast_line
from search.cli.progress_state import StudyProgress
from search.cli.rows import continued_number
from search.study_record import RangeChange, StageOpening, StudyForecast, StudyRecord, StudyResult
from search.trial import Score, TrialRecord

CHECKING = "checking the model and the data …"


class PlainProgress:
    """A `StudyObserver` that writes lines; use it as a context manager.

    Attributes:
        was_opened: Whether a study was run at all (a finished one is only read).
    """

    def __init__(self, *, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic) -> None:
        """Write to `stream`, standard output if None; `now` is a clock in seconds that never goes back."""
        self.was_opened = False
        self._stream = sys.stdout if stream is None else stream
        self._progress = StudyProgress(now=now)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def checking(self) -> None:
        """Say what takes the seconds before the study opens."""
        self._line(CHECKING)

    def notice(self, text: str) -> None:
        self._line(f"note: {text}")

    def study_opened(self, record: StudyRecord, *, resumed: bool, n_workers: int) -> None:
        self.was_opened = True
        self._progress.open(record)
        self._line(opening_line(record, resumed=resumed, n_workers=n_workers))
        self._line(f"storage: {record.storage}")
        self._line(f"tracking: {record.tracking_uri}")

    def stage_opened(self, opening: StageOpening) -> None:
        self._progress.open_stage(opening)
        definition = self._progress.definition
        assert definition is not None
        stage = definition.stages[opening.index]
        self._line(f"stage {opening.name}: {figures.stage_words(stage, definition.budget)}")
        for decision in opening.narrowed.decisions:
            if decision.change is RangeChange.DECLARED:
                self._line(f"  {decision.name}: {decision.after}")
            elif decision.change is RangeChange.KEPT:
                self._line(f"  {decision.name}: kept {decision.after}: {decision.reason}")
            else:
                change = f"{decision.change.value} {decision.before} -> {decision.after}"
                self._line(f"  {decision.name}: {change}: {decision.reason}")

    def trial_started(self, record: TrialRecord) -> None:
        self._progress.start(record)

    def epoch_finished(self, record: TrialRecord) -> None:
        self._progress.advance(record)

    def trial_finished(self, record: TrialRecord, score: Score | None) -> None:
        is_best = self._progress.finish(record, score)
        self._line(f"{self._position(record)}: {self._outcome(record, score)}{' (best so far)' if is_best else ''}")

    def forecast_made(self, forecast: StudyForecast) -> None:
        definition = self._progress.definition
        assert definition is not None
        self._line(forecast_line(forecast, definition.budget))

    def phase_started(self, name: str, *, n_runs: int, n_epochs: int) -> None:
        self._progress.open_phase(name, n_runs=n_runs, n_epochs=n_epochs)
        self._line(phase_line(name, n_runs=n_runs, n_epochs=n_epochs))

    def study_finished(self, record: StudyRecord, result: StudyResult) -> None:
        self._line(f"study {record.definition.study}: finished after {figures.duration(result.seconds)}")

    def _position(self, record: TrialRecord) -> str:
        each = self._progress.round_of(record)
        counted = "" if each is None else f" {figures.done_of(each.n_finished, each.n_runs)}"
        return f"{record.stage}{counted} {trial_name(record)}"

    def _outcome(self, record: TrialRecord, score: Score | None) -> str:
        words = [record.state.value.replace("_", " "), f"epoch {len(record.epochs)}/{record.n_epochs}"]
        if record.continues:
            words.append(f"continued #{continued_number(record)} after epoch {record.n_taken_over}")
        if score is not None and score.best_epoch:
            words.append(f"{self._progress.objective.monitor} {figures.metric(score.best_value)}")
            words.append(f"gap {figures.gap(score.gap_at_best)}")
            words.extend(["breaks constraints"] if score.violation > 0.0 else [])
        if record.reason:
            words.append(" ".join(record.reason.split()))
        return ", ".join(words)

    def _line(self, text: str) -> None:
        try:
            self._stream.write(f"[{figures.clock(self._progress.elapsed_seconds)}] {text}\n")
            self._stream.flush()
        except OSError:
            # Whoever read the log is gone (a closed pipe, a full disk); that must not end the study.
            pass


def trial_name(record: TrialRecord) -> str:
    """Return ``#12``, or the key of a trial outside the search."""
    return record.key if record.number is None else f"#{record.number}"


def opening_line(record: StudyRecord, *, resumed: bool, n_workers: int) -> str:
    """Return what begins or goes on, in words."""
    n_done = sum(trial.record.state.is_finished for trial in record.trials)
    total, budget = record.definition.n_trials, record.definition.budget
    what = as_many_words(budget) if total is None else figures.count(total, "trial")
    if resumed:
        what = f"resumed, {n_done if total is None else f'{n_done} of {total}'} trials are done"
    return f"study {record.definition.study}: {what}, {figures.count(n_workers, 'worker')}"


def phase_line(name: str, *, n_runs: int, n_epochs: int) -> str:
    """Return what a phase after the stages is about to do, in words."""
    if name == "test":
        return "test: reading the test split once"
    runs = f"at most {figures.count(n_runs, 'run')} of {figures.count(n_epochs, 'epoch')}"
    if name == "confirm":
        return f"confirm: the best configurations again over seeds, {runs}"
    if name == "refit":
        return f"refit: what was confirmed best, on train and validation data, {runs}"
    return f"{name}: {runs}"

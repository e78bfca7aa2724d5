"""How a running study is shown: the view that is redrawn, and the lines that stay."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console
from told_studies import FORECAST, Clock, a_record, a_trial, an_opening, ended, tell_a_study, with_epochs

from search.cli.console import make_console
from search.cli.forecast_words import forecast_line
from search.cli.progress_live import LiveProgress
from search.cli.progress_plain import PlainProgress
from search.cli.progress_state import StudyProgress
from search.cli.progress_view import progress_lines
from search.study_definition import Budget
from search.trial import TrialState

# ---- what is drawn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("n_running", [0, 1, 50])
def test_no_line_is_longer_and_no_view_higher_than_the_terminal(width: int, n_running: int) -> None:
    progress = StudyProgress(now=Clock())
    progress.open(a_record())
    progress.open_stage(an_opening(0))
    progress.finish(*ended(a_trial(999), value=0.9))
    for number in range(n_running):
        progress.start(with_epochs(a_trial(number), 1))
    lines = progress_lines(progress, width=width, height=24)
    assert len(lines) <= 24
    assert all(line.cell_len <= width for line in lines)
    text = "\n".join(line.plain for line in lines)
    assert "1/48" in text
    assert ("more" in text) == (n_running == 50)


def test_a_view_shows_stage_running_best_and_time() -> None:
    clock = Clock()
    progress = StudyProgress(now=clock)
    progress.open(a_record())
    progress.finish(*ended(a_trial(7), value=0.8765))
    progress.finish(*ended(a_trial(8), value=0.0, state=TrialState.FAILED))
    progress.start(a_trial(12))
    for epoch in range(1, 6):
        clock.seconds += 1.0
        progress.advance(with_epochs(a_trial(12, n_epochs=6), epoch, value=0.6543))
    text = "\n".join(line.plain for line in progress_lines(progress, width=110, height=40))
    for words in ("2/48", "1 running", "1 failed", "#12", "epoch   5/6", "0.6543", "+0.0123", "learning_rate 0.01234"):
        assert words in text, text
    for words in ("#7  val_acc 0.8765 at epoch 2", "0:00:05", "1.0 epochs/s", "left"):
        assert words in text, text


# ---- the observers ---------------------------------------------------------------------------------------------------


def test_plain_lines_tell_everything_once() -> None:
    file = io.StringIO()
    with PlainProgress(stream=file, now=Clock()) as progress:
        tell_a_study(progress)
    lines = [line.removeprefix("[0:00:00] ") for line in file.getvalue().splitlines()]
    assert lines[0] == "study digits: 84 trials, 2 workers"
    assert "coarse 1/48 #0: complete, epoch 2/2, val_acc 0.7000, gap +0.0123 (best so far)" in lines
    assert "coarse 2/48 #1: complete, epoch 2/2, val_acc 0.9000, gap +0.0123 (best so far)" in lines
    assert "coarse 3/48 #2: complete, epoch 2/2, val_acc 0.8000, gap +0.0123" in lines
    assert "coarse 4/48 #3: failed, epoch 2/2, RuntimeError: out of memory" in lines
    assert "note: worker 2 was lost" in lines
    assert lines.count(forecast_line(FORECAST, Budget())) == 1
    assert "  model.dropout: kept 0 or [0.01, 0.8]: no evidence that it matters" in lines
    assert "confirm 1/9 confirm-0001-seed0: complete, epoch 24/24, val_acc 0.9300, gap +0.0123" in lines
    assert lines[-1] == "study digits: finished after 1 min 1 s"
    assert progress.was_opened


@pytest.mark.parametrize("is_live", [False, True])
def test_the_seconds_before_a_study_opens_are_not_silent(is_live: bool) -> None:
    file = io.StringIO()
    with LiveProgress(console=a_terminal(file)) if is_live else PlainProgress(stream=file, now=Clock()) as progress:
        progress.checking()
    assert file.getvalue().count("checking the model and the data") == 1
    assert not progress.was_opened


class ClosedPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def a_terminal(file: io.StringIO, *, width: int = 80) -> Console:
    return make_console(file=file, width=width, height=30, is_terminal=True)


@pytest.mark.parametrize(
    "make",
    [lambda: PlainProgress(stream=ClosedPipe()), lambda: LiveProgress(console=a_terminal(ClosedPipe()))],
    ids=["plain", "live"],
)
def test_an_output_that_is_gone_does_not_end_the_study(make) -> None:
    with make() as progress:
        tell_a_study(progress)


def test_the_live_display_leaves_the_story_and_takes_the_bars_away() -> None:
    file = io.StringIO()
    before = threading.active_count()
    with LiveProgress(console=a_terminal(file)) as progress:
        tell_a_study(progress)
    assert threading.active_count() == before
    told = file.getvalue()
    for words in ("study digits: 84 trials", "sampler qmc", "worker 2 was lost", "reading the test split once"):
        assert told.count(words) == 1, words
    assert told.count("out of memory") == 1  # the second trial failed for the same reason
    assert told.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in told  # the cursor is back
    assert "\x1b[2K" in told[told.rindex("reading the test split once") :]  # the live lines are erased


def test_a_study_that_is_only_read_draws_nothing() -> None:
    file = io.StringIO()
    with LiveProgress(console=a_terminal(file)) as progress:
        pass
    assert not progress.was_opened
    assert "study" not in file.getvalue()


def test_an_interrupted_study_leaves_its_last_view() -> None:
    file = io.StringIO()
    with pytest.raises(KeyboardInterrupt), LiveProgress(console=a_terminal(file)) as progress:
        progress.study_opened(a_record(), resumed=True, n_workers=1)
        progress.trial_started(a_trial(5))
        raise KeyboardInterrupt
    last = file.getvalue()
    assert "resumed, 0 of 84 trials are done" in last
    assert "#5" in last[last.rindex("coarse") :]

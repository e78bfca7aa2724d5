"""What the live display shows of a study's progress: a few lines of text, cheap to lay out anew."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from rich.text import Text

from lightning_modules.callbacks.metric_names import gap_name
from search.cli import figures
from search.cli.progress_plain import trial_name
from search.cli.progress_state import RoundProgress, StudyProgress
from search.cli.rows import continued_number

_MAX_BAR = 40
_MIN_BAR = 10
_MARGIN = 2


def progress_lines(progress: StudyProgress, *, width: int, height: int) -> list[Text]:
    """Return the lines of the display.

    Args:
        progress: An opened study.
        width: Columns of the terminal; no line is longer.
        height: Lines of the terminal; running trials that do not fit are counted only.
    """
    rounds = [*progress.stages, *progress.phases]
    lines = [Text(""), *(_round_line(progress, each, width=width) for each in rounds)]
    lines.append(Text(""))
    room = max(1, height - len(rounds) - 7)
    lines.extend(_running_lines(progress, width=width, room=room))
    lines.append(_best_line(progress, width=width))
    lines.append(_rate_line(progress))
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return lines


def _round_line(progress: StudyProgress, each: RoundProgress, *, width: int) -> Text:
    names = [other.name for other in (*progress.stages, *progress.phases)]
    name_width = min(max(map(len, names)), 20)
    counted = f"{each.n_finished:>4}/{each.n_runs:<4}" if each.n_runs is not None else f"{each.n_finished:>4}     "
    n_running = progress.n_running(each)
    running = f"{n_running} running" if n_running else ""
    bar_width = min(_MAX_BAR, max(_MIN_BAR, width - 2 * _MARGIN - name_width - len(counted) - 2 - 22))
    style = "" if each.is_open else "dim"
    line = Text(" " * _MARGIN)
    line.append(f"{each.name:<{name_width}.{name_width}}  ", style=style or "bold")
    _append_bar(line, progress.share_done(each), width=bar_width)
    line.append(counted, style=style)
    line.append(f"  {running}", style="cyan")
    if each.n_failed:
        line.append(f"  {each.n_failed} failed", style="red")
    return line


def _append_bar(line: Text, share: float, *, width: int) -> None:
    halves = min(2 * width, int(share * 2 * width))
    full, half = divmod(halves, 2)
    line.append("━" * full + ("╸" if half else ""), style="green" if share >= 1.0 else "cyan")
    line.append("━" * (width - full - half), style="bright_black")


def _running_lines(progress: StudyProgress, *, width: int, room: int) -> Iterator[Text]:
    running = list(progress.running.values())
    shown = running if len(running) <= room else running[: room - 1]
    name_width = max((len(trial_name(record)) for record in shown), default=0)
    for index, record in enumerate(shown):
        line = Text(" " * _MARGIN)
        line.append("running  " if index == 0 else " " * 9, style="dim")
        line.append(f"{trial_name(record):<{name_width}}", style="cyan")
        line.append(f"  epoch {len(record.epochs):>3}/{record.n_epochs:<3}")
        monitor = progress.objective.monitor
        metrics = record.epochs[-1].metrics if record.epochs else {}
        value = metrics.get(monitor, math.nan)
        line.append(f"  {monitor} {figures.metric(value):>7}")
        line.append(f"  gap {figures.gap(metrics.get(gap_name(monitor), math.nan)):>7}")
        if record.continues:
            line.append(f"  continues #{continued_number(record)}", style="dim")
        _append_settings(line, record.hyperparameters, room=width - line.cell_len)
        yield line
    if len(shown) < len(running):
        yield Text(f"{' ' * _MARGIN}{' ' * 9}and {len(running) - len(shown)} more", style="dim")


def _append_settings(line: Text, hyperparameters: Mapping[str, float | int | str | bool], *, room: int) -> None:
    """Fill what is left of a line with hyperparameters, as many as fit whole."""
    for name, value in hyperparameters.items():
        shown = f"  {name.rpartition('.')[2]} {figures.setting(value)}"
        if len(shown) > room:
            return
        line.append(shown, style="dim")
        room -= len(shown)


def _best_line(progress: StudyProgress, *, width: int) -> Text:
    line = Text(" " * _MARGIN)
    line.append("best     ", style="dim")
    best = progress.best
    if best is None or best.score is None:
        line.append("none yet", style="dim")
        return line
    objective, score = progress.objective, best.score
    line.append(trial_name(best.record), style="bold green")
    line.append(f"  {objective.monitor} {figures.metric(score.best_value)}", style="bold")
    line.append(f" at epoch {score.best_epoch}, gap {figures.gap(score.gap_at_best)}")
    if objective.gap_weight:
        line.append(f", reward {figures.metric(score.reward)}")
    if score.violation > 0.0:
        line.append(", breaks constraints", style="red")
    line.append(f", {best.record.stage}", style="dim")
    _append_settings(line, best.record.hyperparameters, room=width - line.cell_len)
    return line


def _rate_line(progress: StudyProgress) -> Text:
    rate, left = progress.epochs_per_second, progress.seconds_left
    line = Text(" " * _MARGIN)
    line.append("time     ", style="dim")
    line.append(figures.clock(progress.elapsed_seconds))
    if not math.isnan(left):
        per = f"{rate:.1f} epochs/s" if rate >= 0.1 else f"{60.0 * rate:.1f} epochs/min"
        line.append(f"  about {figures.duration(left)} left, {per}", style="dim")
    return line

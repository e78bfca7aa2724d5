"""How a finished study is told at the end of `zeroin run`: the best, the ranges, confirmation, test, where to look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.cli import figures
from search.cli.best import score_pairs, settings, standing_parts
from search.cli.confirmation_view import confirmation_parts
from search.cli.console import heading, indented, pairs, plain_table
from search.cli.device_line import device_line
from search.cli.edges_view import edge_parts
from search.cli.ensemble_view import ensemble_parts
from search.cli.registered_model import model_parts
from search.cli.tables import ranges_story
from search.cli.weights_view import weights_parts
from search.recorded_best import winner
from search.study_record import StudyRecord, StudyResult


def result_story(record: StudyRecord, *, width: int) -> RenderableType:
    """Return the story of a study for people.

    Args:
        record: The study; what it has not reached yet is left out.
        width: Columns of the terminal.
    """
    parts: list[RenderableType] = [heading(f"Study {record.definition.study}: {_how_it_went(record)}")]
    best = winner(record)
    if best is None:
        parts.append(indented(Text("No trial with a finite score.")))
    else:
        parts.append(heading(f"Best hyperparameters (trial #{best.record.number})"))
        parts.append(indented(settings(best.record.hyperparameters)))
        parts.extend([Text(""), indented(pairs(score_pairs(record, best))), *standing_parts(record, best)])
    parts.extend([heading("Ranges by stage"), indented(ranges_story(record, width=width - 2))])
    parts.extend(edge_parts(record))
    if record.result is not None:
        parts.extend(_finish(record, record.result, width=width))
    parts.extend([heading("To look further"), indented(pairs(_commands(record.definition.study)))])
    if best is not None:
        parts.extend(weights_parts(record, best))
    parts.extend(model_parts(record))
    return Group(*parts)


def _how_it_went(record: StudyRecord) -> str:
    n_finished = sum(trial.record.state.is_finished for trial in record.trials)
    trials = figures.count(n_finished, "trial")
    if record.result is None:
        n_trials = record.definition.n_trials
        return f"{record.state.value}, {trials}{'' if n_trials is None else f' of {n_trials}'}"
    return f"{record.state.value}, {trials} in {figures.duration(record.result.seconds)}"


def _finish(record: StudyRecord, result: StudyResult, *, width: int) -> list[RenderableType]:
    parts: list[RenderableType] = confirmation_parts(record, width=width)
    if result.test_members:
        samples = figures.count(result.n_test_samples, "sample")
        times = "once" if result.n_test_readings == 1 else f"{result.n_test_readings} times"
        parts.append(heading(f"Test split ({samples}, read {times} in this study's life)"))
        parts.append(indented(_test_table(result)))
        parts.extend(ensemble_parts(record))
    if result.n_epochs:
        spent = ", ".join(f"{name} {n:,}" for name, n in result.n_epochs.items())
        parts.extend([heading("Epochs trained"), indented(Text(f"{spent}; {sum(result.n_epochs.values()):,} in all"))])
    if result.device_use:
        parts.extend([heading("Devices"), indented(Text(device_line(result.device_use)))])
    if result.notices:
        parts.append(heading("Notes"))
        parts.extend(indented(Text(notice)) for notice in result.notices)
    return parts


def _test_table(result: StudyResult) -> Table:
    members = result.test_members
    titles = [("", "left"), ("members' mean", "right"), ("members", "left")]
    table = plain_table([*titles[:1], ("ensemble", "right"), *titles[1:]] if result.test_ensemble else titles)
    for name in _metric_names(result):
        values = [member[name] for member in members if name in member]
        ensemble = [_shown(result.test_ensemble, name)] if result.test_ensemble else []
        mean = _shown(result.test_mean, name)
        table.add_row(name, *ensemble, mean, "  ".join(figures.metric(value) for value in values))
    return table


def _metric_names(result: StudyResult) -> Sequence[str]:
    return list(dict.fromkeys(name for metrics in (*result.test_members, result.test_ensemble) for name in metrics))


def _shown(metrics: Mapping[str, float], name: str) -> str:
    return figures.metric(metrics[name]) if name in metrics else figures.MISSING


def _commands(study: str) -> list[tuple[str, str | Text]]:
    return [
        (f"zeroin best {study}", "the winner as a study file's section, and its weights"),
        (f"zeroin ranges {study}", "why each range moved"),
        (f"zeroin trials {study}", "every trial; --format csv, json or parquet"),
        ("zeroin ui", "curves, gaps and parallel coordinates in MLflow"),
    ]

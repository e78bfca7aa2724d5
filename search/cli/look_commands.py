"""``zeroin list``, ``status``, ``trials``, ``best`` and ``ranges``: what there is, for people and for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType

from search.cli import rows
from search.cli.best import best_plain, best_report, best_rows
from search.cli.command_context import CommandContext
from search.cli.console import heading, indented, make_console, show, store_lines, stores, warn
from search.cli.edges_view import edge_parts
from search.cli.formats import Format, encode, strict_json, write_out
from search.cli.options import format_options, store_options, study_argument
from search.cli.status import status_plain, status_report
from search.cli.study_reference import Stores, read_recorded, storage_address
from search.cli.tables import ranges_reasons, ranges_story, studies_table
from search.cli.trials_table import trials_table
from search.errors import StateError
from search.paths import StateDirectory
from search.study_record import ScoredTrial, StudyRecord
from search.study_views import StudySummary

ALL_FORMATS = (Format.TABLE, Format.JSON, Format.CSV, Format.PARQUET)


@click.command("list")
@format_options(*ALL_FORMATS)
@store_options
@click.pass_obj
def list_(
    context: CommandContext, *, format_: Format, output: Path | None, storage: str | None, tracking_uri: str | None
) -> None:
    """List the studies there are."""
    places = Stores(directory=StateDirectory.default(), storage=storage, tracking_uri=tracking_uri)
    summaries = context.studies.list_studies(directory=places.directory, storage=storage)
    where = [storage_address(places)]
    if format_ is Format.TABLE:
        _emit_table(studies_table(summaries), where=where, output=output)
        return
    plain = [_summary_row(each) for each in summaries]
    columns = ("name", "state", "n_finished", "n_trials", "best_reward", "updated_ms", "error")
    _emit_bytes(encode(plain, format_, columns=columns), format_=format_, where=where, output=output)


@click.command()
@study_argument
@format_options(Format.TABLE, Format.JSON)
@store_options
@click.pass_obj
def status(
    context: CommandContext, /, *, study: str, format_: Format, output: Path | None, **options: str | None
) -> None:
    """Show where a study is: its stages, its trials by state, its best."""
    record = _read(context, study, options)
    if format_ is Format.TABLE:
        _emit_table(status_report(record, width=make_console().width), where=(), output=output)
    else:
        _emit_json(status_plain(record), record=record, output=output)


@click.command()
@study_argument
@click.option("--stage", metavar="NAME", help="Only the trials of this stage.")
@click.option("--sort", type=click.Choice(["number", "reward"]), default="number", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N.")
@format_options(*ALL_FORMATS)
@store_options
@click.pass_obj
def trials(
    context: CommandContext,
    /,
    *,
    study: str,
    stage: str | None,
    sort: str,
    limit: int | None,
    format_: Format,
    output: Path | None,
    **options: str | None,
) -> None:
    """Show a study's trials, one line each."""
    record = _read(context, study, options)
    chosen = _chosen(record, stage=stage, sort=sort, limit=limit)
    if format_ is Format.TABLE:
        table = trials_table(record, chosen, width=make_console().width)
        _emit_table(table, where=(record.storage, record.tracking_uri), output=output)
        return
    content = encode(
        [rows.trial_row(trial, record.definition.objective) for trial in chosen],
        format_,
        columns=rows.trial_columns(record),
    )
    _emit_bytes(content, format_=format_, where=(record.storage, record.tracking_uri), output=output)


@click.command()
@study_argument
@format_options(Format.TABLE, Format.JSON, Format.CSV)
@store_options
@click.pass_obj
def best(
    context: CommandContext, /, *, study: str, format_: Format, output: Path | None, **options: str | None
) -> None:
    """Show the winner, how to use it and where its weights are; of an unfinished study, the best so far.

    With several objectives, the Pareto front as well. As CSV: one line for each trial of the front, or the winner's.
    """
    record = _read(context, study, options)
    where = (record.storage, record.tracking_uri)
    if format_ is Format.TABLE:
        _emit_table(best_report(record, width=make_console().width), where=where, output=output)
    elif format_ is Format.CSV:
        content = encode(best_rows(record), format_, columns=rows.trial_columns(record))
        _emit_bytes(content, format_=format_, where=where, output=output)
    else:
        _emit_json(best_plain(record), record=record, output=output)


@click.command()
@study_argument
@format_options(*ALL_FORMATS)
@store_options
@click.pass_obj
def ranges(
    context: CommandContext, /, *, study: str, format_: Format, output: Path | None, **options: str | None
) -> None:
    """Show the ranges stage by stage, and why each one moved or stayed."""
    record = _read(context, study, options)
    where = (record.storage, record.tracking_uri)
    if format_ is Format.TABLE:
        story = ranges_story(record, width=make_console().width - 2)
        report = Group(heading("Ranges by stage"), indented(story), ranges_reasons(record), *edge_parts(record))
        _emit_table(report, where=where, output=output)
        return
    found = rows.range_rows(record) if format_ is Format.JSON else rows.flat_range_rows(record)
    _emit_bytes(encode(found, format_, columns=rows.RANGE_COLUMNS), format_=format_, where=where, output=output)


def _read(context: CommandContext, study: str, options: dict[str, str | None]) -> StudyRecord:
    places = Stores(
        directory=StateDirectory.default(), storage=options["storage"], tracking_uri=options["tracking_uri"]
    )
    return read_recorded(study, api=context.studies, stores=places)


def _chosen(record: StudyRecord, *, stage: str | None, sort: str, limit: int | None) -> Sequence[ScoredTrial]:
    names = [each.name for each in record.definition.stages]
    if stage is not None and stage not in names:
        raise click.BadParameter(f"{stage!r} is no stage of the study, which has {', '.join(names)}.")
    chosen = [trial for trial in record.trials if stage in (None, trial.record.stage)]
    if sort == "reward":
        chosen = rows.by_reward(chosen, objective=record.definition.objective)
    return chosen[:limit]


def _summary_row(summary: StudySummary) -> dict[str, Any]:
    return {
        "name": summary.name,
        "state": summary.state.value,
        "n_finished": summary.n_finished,
        "n_trials": summary.n_trials,
        "best_reward": summary.best_reward,
        "updated_ms": summary.updated_ms,
        "error": summary.error,
    }


def _emit_table(table: RenderableType, *, where: Sequence[str], output: Path | None) -> None:
    parts = [stores(*where), table] if where else [table]
    if output is None:
        show(make_console(), *parts)
        return
    try:
        with output.open("w", encoding="utf-8") as file:
            show(make_console(file=file), *parts)
    except OSError as error:
        raise StateError(f"cannot write {output}: {error.strerror or error}.") from error


def _emit_json(data: object, *, record: StudyRecord, output: Path | None) -> None:
    where = (record.storage, record.tracking_uri)
    _emit_bytes(strict_json(data).encode(), format_=Format.JSON, where=where, output=output)


def _emit_bytes(content: bytes, *, format_: Format, where: Sequence[str], output: Path | None) -> None:
    if format_ is Format.PARQUET and output is None and sys.stdout.isatty():
        raise click.UsageError("Parquet is binary and this is a terminal: add --output FILE.")
    warn("\n".join(store_lines(*where)))
    write_out(content, output=output, stdout=sys.stdout.buffer)

"""``zeroin run``, ``zeroin resume`` and ``zeroin finish``."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import TypedDict, Unpack

import click
from rich.text import Text

from search.cli.command_context import CommandContext
from search.cli.console import make_console, show, stores, unbroken
from search.cli.options import (
    checkpoints_option,
    devices_option,
    engine_options,
    plain_option,
    store_options,
    study_argument,
)
from search.cli.plan import plan_report, preview_report
from search.cli.progress_live import LiveProgress
from search.cli.progress_plain import CHECKING, PlainProgress
from search.cli.result_story import result_story
from search.cli.study_reference import Stores, StudyToRun, errors_in, find_recorded, recorded_name, study_to_run
from search.paths import StateDirectory
from search.study_definition import DEFAULT_FINISH, StudyDefinition
from search.study_file import with_overrides
from search.study_record import StudyRecord


class _Where(TypedDict):
    """Where a study runs and is recorded: the options that `run` and `resume` share."""

    devices: str
    engine: str
    ray_address: str | None
    storage: str | None
    tracking_uri: str | None


@click.command()
@study_argument
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change an entry of the study file, by dotted key (stages.0.n_trials=8); may be repeated.",
)
@click.option("--new", is_flag=True, help="Start another study under a numbered name.")
@click.option("--dry-run", is_flag=True, help="Print the plan and inspect the model and data; create nothing.")
@click.option("--no-check", is_flag=True, help="Do not look at the first batch; `zeroin check` looks at all.")
@devices_option
@engine_options
@store_options
@checkpoints_option
@plain_option
@click.pass_obj
def run(
    context: CommandContext,
    *,
    study: str,
    overrides: tuple[str, ...],
    new: bool,
    dry_run: bool,
    no_check: bool,
    checkpoints: str | None,
    plain: bool,
    **where: Unpack[_Where],
) -> None:
    """Run a study: all stages, then confirm, refit and test.

    An unfinished study goes on where it stopped, with what has safely changed in its file; of a finished one the result
    is printed, and --new starts another.
    Ctrl-C stops cleanly at the end of the epoch, a second Ctrl-C at once; either way nothing finished is lost.
    """
    places = _places(where)
    chosen = study_to_run(study, api=context.studies, stores=places, overrides=overrides)
    if dry_run:
        _dry_run(
            context,
            chosen,
            directory=places.directory,
            checkpoints=checkpoints,
            new=new,
            check=not no_check,
            **where,
        )
        return
    with errors_in(chosen), _display(plain=plain) as progress:
        record = context.studies.run_study(
            chosen.definition,
            directory=places.directory,
            observer=progress,
            new=new,
            checkpoints=checkpoints,
            check=not no_check,
            **where,
        )
    _tell(record, was_run=progress.was_opened, again=study)


@click.command()
@study_argument
@devices_option
@engine_options
@store_options
@plain_option
@click.pass_obj
def resume(context: CommandContext, *, study: str, plain: bool, **where: Unpack[_Where]) -> None:
    """Continue a study where it stopped.

    Interrupted trials go on from their checkpoints; the number of trials is a total: what is done already counts. A
    STUDY given by name goes on as it is recorded; one given as a file goes by what the file says now, as far as the
    trials that it has stay comparable.
    """
    name, places, edited = recorded_name(study, stores=_places(where))
    _go_on(context.studies.resume_study, name, places, edited=edited, plain=plain, again=study, where=where)


@click.command()
@study_argument
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change an entry of the study's definition, by dotted key (finish.top_k=5); may be repeated.",
)
@devices_option
@engine_options
@store_options
@plain_option
@click.pass_obj
def finish(
    context: CommandContext, *, study: str, overrides: tuple[str, ...], plain: bool, **where: Unpack[_Where]
) -> None:
    """End the search where it stands: confirm, refit, test once.

    Trials under way run to their ends, and no other begins. A study whose definition has no `finish` confirms its best
    3 with 3 seeds each. Of a finished one the result is printed: the test split is read once.
    """
    name, places, edited = recorded_name(study, stores=_places(where))
    if overrides:
        recorded = edited or find_recorded(study, api=context.studies, stores=places)[0].definition
        edited = with_overrides(replace(recorded, finish=recorded.finish or DEFAULT_FINISH), overrides)
    _go_on(context.studies.finish_study, name, places, edited=edited, plain=plain, again=study, where=where)


def _go_on(
    go_on: Callable[..., StudyRecord],
    name: str,
    places: Stores,
    *,
    edited: StudyDefinition | None,
    plain: bool,
    again: str,
    where: _Where,
) -> None:
    """Have a recorded study continued, and tell its result.

    Args:
        go_on: Continues it.
        name: The study.
        places: Its stores.
        edited: What it goes by from now on, None for what is recorded.
        plain: Whether lines are printed instead of a display.
        again: What the user called it.
        where: Where it runs; `places` has its stores.
    """
    where |= {"storage": places.storage, "tracking_uri": places.tracking_uri}
    with _display(plain=plain) as progress:
        record = go_on(name, directory=places.directory, observer=progress, edited=edited, **where)
    _tell(record, was_run=progress.was_opened, again=again)


def _places(where: _Where) -> Stores:
    return Stores(directory=StateDirectory.default(), storage=where["storage"], tracking_uri=where["tracking_uri"])


def _display(*, plain: bool) -> LiveProgress | PlainProgress:
    console = make_console()
    if plain or not console.is_terminal or console.is_dumb_terminal:
        return PlainProgress()
    return LiveProgress(console=console)


def _dry_run(
    context: CommandContext,
    chosen: StudyToRun,
    *,
    directory: StateDirectory,
    checkpoints: str | None,
    new: bool,
    check: bool,
    **where: Unpack[_Where],
) -> None:
    console = make_console()
    show(console, plan_report(chosen.definition), Text(f"\n{CHECKING}", style="dim"))
    with errors_in(chosen):
        preview = context.studies.preview_study(
            chosen.definition,
            directory=directory,
            checkpoints=checkpoints,
            new=new,
            check=check,
            **where,
            notify=lambda text: show(console, Text(f"note  {text}")),
        )
    show(console, preview_report(preview))


def _tell(record: StudyRecord, *, was_run: bool, again: str) -> None:
    console = make_console()
    if not was_run:
        show(console, Text(f"Study {record.definition.study} is finished; this is its result."))
        show(console, unbroken(f"`zeroin run {shlex.quote(again)} --new` starts another."))
        show(console, stores(record.storage, record.tracking_uri))
    show(console, result_story(record, width=console.width))

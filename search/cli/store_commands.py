"""``zeroin ui`` and ``zeroin delete``."""

from __future__ import annotations

import os
import socket
import sys

import click

from search.cli.command_context import CommandContext
from search.cli.console import store_lines
from search.cli.options import store_options, study_argument
from search.cli.study_reference import Stores, find_recorded, read_recorded
from search.coordinator.stores import default_tracking, store_uris
from search.errors import StateError, StudyConflictError
from search.paths import StateDirectory
from search.tracking import EXPERIMENTS_PATH, latest_study_pages, study_pages, ui_command
from search.uris import masked


@click.command()
@click.argument("study", metavar="[STUDY]", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port to listen on.")
@store_options
@click.pass_obj
def ui(
    context: CommandContext, *, study: str | None, host: str, port: int, storage: str | None, tracking_uri: str | None
) -> None:
    """Open the MLflow UI on the right store; Ctrl-C ends it.

    A study is an experiment of its name; its runs are one for the study and, below it, one for each trial.
    """
    places = Stores(directory=StateDirectory.default(), storage=storage, tracking_uri=tracking_uri)
    experiment = ""
    uri = tracking_uri or default_tracking(places.directory)
    if study is not None:
        definition = read_recorded(study, api=context.studies, stores=places).definition
        experiment, uri = definition.study, store_uris(places.directory, definition, tracking_uri=tracking_uri).tracking
    elif tracking_uri is None and not places.directory.mlflow_database.exists():
        raise StateError(f"nothing has been logged to {uri} yet. `zeroin run digits` starts a study.")
    command = ui_command(tracking_uri=uri, artifact_root=places.directory.artifacts, host=host, port=port)
    _require_free(host, port)
    click.echo(f"tracking    {masked(uri)}")
    click.echo(f"experiment  {experiment or 'one for each study, of its name'}")
    click.echo("\n".join(_page_lines(f"http://{host}:{port}", uri, experiment)))
    click.echo("The server answers in a few seconds; Ctrl-C ends it.")
    sys.stdout.flush()
    # The server takes this process's place, so that Ctrl-C, a terminal that closes and `kill` reach it directly.
    os.execve(command.arguments[0], list(command.arguments), dict(command.environment))


@click.command()
@study_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_options
@click.pass_obj
def delete(context: CommandContext, *, study: str, yes: bool, storage: str | None, tracking_uri: str | None) -> None:
    """Remove a study everywhere: its trials, its MLflow runs and its checkpoints."""
    places = Stores(directory=StateDirectory.default(), storage=storage, tracking_uri=tracking_uri)
    found, places = find_recorded(study, api=context.studies, stores=places)
    name = found.definition.study
    click.echo("\n".join(store_lines(found.storage, found.tracking_uri)))
    if found.is_running:
        raise StudyConflictError(f"study {name!r} is running right now; stop it first (Ctrl-C where it runs).")
    what = f"its trials, its MLflow runs and everything in {found.directory}"
    if not yes and not _confirmed(f"Delete study {name}: {what}?"):
        click.echo("Nothing was deleted.")
        return
    removed = context.studies.delete_study(
        name, directory=places.directory, storage=places.storage, tracking_uri=places.tracking_uri
    )
    click.echo("\n".join(f"deleted   {line}" for line in removed))


def _page_lines(server: str, tracking_uri: str, study: str) -> list[str]:
    """Return where to look, one a line; `study` is empty if none was named."""
    if not study:
        latest = latest_study_pages(tracking_uri)
        trials = [f"trials      {server}{pages.trials}  ({name})" for name, pages in latest.items()]
        return [f"address     {server}{EXPERIMENTS_PATH}", *trials]
    pages = study_pages(tracking_uri, study)
    if pages is None:
        return [f"address     {server}{EXPERIMENTS_PATH}"]
    lines = [f"trials      {server}{pages.trials}", f"charts      {server}{pages.charts}"]
    return lines if pages.study is None else [*lines, f"study       {server}{pages.study}"]


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question)
    except click.Abort:
        click.echo()
        if not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask: --yes deletes without a question.") from None
        return False


def _require_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise StateError(f"cannot listen on {host}:{port}: {error.strerror or error}. Try another --port.") from error

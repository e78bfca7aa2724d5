"""``zeroin check``: is a study's model and data fit to be searched at all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightning_modules.checks.finding import Finding, Verdict
from search.cli import figures
from search.cli.command_context import CommandContext
from search.cli.console import indented, make_console, plain_table, show, warn
from search.cli.formats import Format, strict_json, write_out
from search.cli.options import devices_option, engine_options, format_options, store_options, study_argument
from search.cli.progress_plain import CHECKING
from search.cli.study_reference import Stores, errors_in, study_to_run
from search.errors import StateError, StudyFailedError
from search.paths import StateDirectory
from search.study_views import StudyCheck

VERDICT_STYLES = {
    Verdict.OK: "green",
    Verdict.UNCHECKED: "dim",
    Verdict.WARNING: "yellow",
    Verdict.FAILED: "red",
}


@click.command()
@study_argument
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change an entry of the study file, by dotted key (data.init_args.batch_size=32); may be repeated.",
)
@devices_option
@engine_options
@format_options(Format.TABLE, Format.JSON)
@store_options
@click.pass_obj
def check(
    context: CommandContext,
    *,
    study: str,
    overrides: tuple[str, ...],
    devices: str,
    engine: str,
    ray_address: str | None,
    format_: Format,
    output: Path | None,
    storage: str | None,
    tracking_uri: str | None,
) -> int:
    """Check a study's model and data: first loss, gradients, activations, learning rates, labels, leakage and more.

    Nothing is created. The exit code is 1 if a check fails, 0 if all is well or there are warnings only.
    """
    places = Stores(directory=StateDirectory.default(), storage=storage, tracking_uri=tracking_uri)
    chosen = study_to_run(study, api=context.studies, stores=places, overrides=overrides)
    warn(CHECKING)
    with errors_in(chosen):
        found = context.studies.check_study(
            chosen.definition, devices=devices, engine=engine, ray_address=ray_address, notify=warn
        )
    if format_ is Format.JSON:
        write_out(strict_json(check_plain(found)).encode(), output=output, stdout=sys.stdout.buffer)
    else:
        _write(check_report(found), output=output)
    return StudyFailedError.exit_code if found.has_failed else 0


def check_report(found: StudyCheck) -> RenderableType:
    """Return what the checks found: each with its verdict, what it saw, what is healthy and what to try."""
    point = ", ".join(f"{name} {figures.setting(value)}" for name, value in found.hyperparameters.items())
    table = plain_table([("check", "left"), ("verdict", "left"), ("what it saw", "left")])
    for finding in found.findings:
        verdict = Text(finding.verdict.value, style=VERDICT_STYLES[finding.verdict])
        table.add_row(finding.check, verdict, _details(finding))
    return Group(
        Text(f"Checks of study {found.name} ({found.device})", style="bold"),
        Text(f"with {point}", style="dim"),
        Text(),
        indented(table),
        Text(),
        _summary(found),
    )


def check_plain(found: StudyCheck) -> dict[str, Any]:
    """Return the same as plain data."""
    return {
        "study": found.name,
        "device": found.device,
        "hyperparameters": dict(found.hyperparameters),
        "has_failed": found.has_failed,
        "findings": [
            {
                "check": each.check,
                "verdict": each.verdict.value,
                "seen": each.seen,
                "healthy": each.healthy,
                "advice": each.advice,
                "figures": dict(each.figures),
            }
            for each in found.findings
        ],
    }


def _details(finding: Finding) -> RenderableType:
    lines = [Text(finding.seen)]
    if finding.healthy:
        lines.append(Text(f"healthy: {finding.healthy}", style="dim"))
    if finding.advice:
        lines.append(Text(f"try: {finding.advice}", style=VERDICT_STYLES[finding.verdict]))
    grid = Table.grid()
    for line in lines:
        grid.add_row(line)
    return grid


def _summary(found: StudyCheck) -> Text:
    counts = [(verdict, sum(each.verdict is verdict for each in found.findings)) for verdict in Verdict]
    told = ", ".join(f"{n} {verdict.value}" for verdict, n in counts if n)
    return Text(f"{len(found.findings)} checks: {told}.")


def _write(report: RenderableType, *, output: Path | None) -> None:
    if output is None:
        show(make_console(), report)
        return
    try:
        with output.open("w", encoding="utf-8") as file:
            show(make_console(file=file), report)
    except OSError as error:
        raise StateError(f"cannot write {output}: {error.strerror or error}.") from error

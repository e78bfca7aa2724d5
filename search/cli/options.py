"""Options and arguments that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from search.cli.formats import Format

_Command = TypeVar("_Command", bound=Callable[..., Any])

study_argument = click.argument("study", metavar="STUDY")
devices_option = click.option(
    "--devices",
    metavar="DEVICES",
    default="auto",
    show_default=True,
    help="What trials run on: auto, a count (4), GPU indices (0,2), cpu or cpu:4, mps; with Ray also gpu:4.",
)
checkpoints_option = click.option(
    "--checkpoints",
    metavar="URL",
    help="Directory for checkpoints (s3://…, gs://…, a path), where not all machines share the state directory.",
)
plain_option = click.option("--plain", is_flag=True, help="Print plain lines, as without a terminal.")


def store_options(command: _Command) -> _Command:
    """Add ``--storage`` and ``--tracking-uri``."""
    tracking = click.option("--tracking-uri", metavar="URI", help="MLflow tracking store, instead of the default.")
    storage = click.option("--storage", metavar="URL", help="Optuna storage, instead of the default.")
    return storage(tracking(command))


def engine_options(command: _Command) -> _Command:
    """Add ``--engine`` and ``--ray-address``."""
    address = click.option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Ray cluster; by default RAY_ADDRESS, else one on this machine, else a new one (local).",
    )
    engine = click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Where trials run: on this machine, or on a Ray cluster.",
    )
    return engine(address(command))


def format_options(*formats: Format) -> Callable[[_Command], _Command]:
    """Add ``--format`` with the given formats, and ``--output``."""

    def add(command: _Command) -> _Command:
        choice = click.option(
            "--format",
            "format_",
            type=click.Choice([each.value for each in formats]),
            default=Format.TABLE.value,
            show_default=True,
            callback=lambda _context, _parameter, value: Format(value),
            help="How to print it; all but the table in full precision.",
        )
        output = click.option(
            "-o",
            "--output",
            metavar="FILE",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Write to FILE instead of standard output.",
        )
        return choice(output(command))

    return add

"""The group of all commands, and how errors end the process.

Only click and the standard library are imported here: `zeroin --help` must not wait for what it does not use.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from search.cli.command_context import CommandContext
from search.cli.import_path import append_working_directory
from search.cli.lazy_group import LazyCommand, LazyGroup, ReaderLeftError
from search.errors import SearchError
from search.known_secrets import without_secrets

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
"""What a shell reports of a program that SIGPIPE ended, as `zeroin trials STUDY | head` does to any program."""

_RUN, _LOOK, _SET_UP = "Search", "Look", "Set up and clean up"

COMMANDS = (
    LazyCommand("run", "search.cli.run_commands:run", _RUN, "Run a study: all stages, then confirm, refit and test."),
    LazyCommand("resume", "search.cli.run_commands:resume", _RUN, "Continue a study where it stopped."),
    LazyCommand("check", "search.cli.check_command:check", _RUN, "Check a study's model and data; create nothing."),
    LazyCommand("finish", "search.cli.run_commands:finish", _RUN, "End the search: confirm, refit, test once."),
    LazyCommand("list", "search.cli.look_commands:list_", _LOOK, "List the studies there are."),
    LazyCommand("status", "search.cli.look_commands:status", _LOOK, "Show where a study is."),
    LazyCommand("trials", "search.cli.look_commands:trials", _LOOK, "Show a study's trials."),
    LazyCommand("best", "search.cli.look_commands:best", _LOOK, "Show the winner and how to use it."),
    LazyCommand("ranges", "search.cli.look_commands:ranges", _LOOK, "Show the ranges stage by stage, and why."),
    LazyCommand("ui", "search.cli.store_commands:ui", _LOOK, "Open the MLflow UI on the right store."),
    LazyCommand("init", "search.cli.file_commands:init", _SET_UP, "Write a starter study file."),
    LazyCommand("schema", "search.cli.file_commands:schema", _SET_UP, "Print the JSON Schema of study files."),
    LazyCommand("delete", "search.cli.store_commands:delete", _SET_UP, "Remove a study everywhere."),
)


def print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    """Print the version and exit, if `wanted`."""
    if not wanted or context.resilient_parsing:
        return
    from search.package_version import zeroin_version  # 50 ms that only this option is worth

    click.echo(f"zeroin {zeroin_version()}")
    context.exit()


@click.group(
    cls=LazyGroup,
    lazy_commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    # The mark keeps click from wrapping it inside the command.
    epilog="\b\nSTUDY is a study file, else a recorded study's name, else a built-in one's:\n  zeroin run digits",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Show the version."
)
@click.pass_context
def cli(context: click.Context, *, debug: bool) -> None:
    """Coarse-to-fine hyperparameter search for CNNs: Optuna studies, Lightning modules, MLflow records."""
    context.ensure_object(CommandContext).debug = debug


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Args:
        arguments: Words after the program's name; those of the process if None.
    """
    append_working_directory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show an arrow or a bar must not end a study that it only watches.
            stream.reconfigure(errors="replace")
    sys.exit(exit_code_of(list(sys.argv[1:] if arguments is None else arguments)))


def exit_code_of(arguments: list[str], *, context: CommandContext | None = None) -> int:
    """Run a command; report an error as one message on standard error, and return the exit code.

    Args:
        arguments: Words after the program's name.
        context: What commands share; a test passes one with an interface of its own.
    """
    shared = CommandContext() if context is None else context
    try:
        outcome = cli.main(args=arguments, prog_name="zeroin", standalone_mode=False, obj=shared)
        sys.stdout.flush()
    except (BrokenPipeError, ReaderLeftError):
        return _silence_output()
    except Exception as error:
        return _report(error, debug=shared.debug)
    return outcome if isinstance(outcome, int) else 0


def _report(error: Exception, *, debug: bool) -> int:
    if debug and not isinstance(error, click.exceptions.Exit | click.Abort):
        sys.stderr.write(without_secrets("".join(traceback.format_exception(error))))
    if isinstance(error, click.UsageError):
        help_of = "zeroin" if error.ctx is None else error.ctx.command_path
        _complain(f"{error.format_message()}\nTry `{help_of} --help`.")
        return error.exit_code
    if isinstance(error, click.ClickException):
        _complain(error.format_message())
        return error.exit_code
    if isinstance(error, click.Abort):
        _complain("interrupted.")
        return EXIT_INTERRUPTED
    if isinstance(error, SearchError):
        _complain(str(error))
        return error.exit_code
    hint = "" if debug else " `zeroin --debug …` shows where."
    _complain(f"internal error: {type(error).__name__}: {error}.{hint}")
    return EXIT_FAILED


def _complain(message: str) -> None:
    sys.stderr.write(f"zeroin: error: {without_secrets(message)}\n")


def _silence_output() -> int:
    """Send what is still buffered nowhere, so that the interpreter does not complain about the pipe at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_BROKEN_PIPE

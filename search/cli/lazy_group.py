"""A click group that knows its commands' names and texts, and imports a command only to run it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import click

from search.errors import did_you_mean


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command by address.

    Attributes:
        name: What the user types.
        address: ``module:attribute`` of the click command.
        section: Heading that it stands under in the group's help.
        summary: Its line there.
    """

    name: str
    address: str
    section: str
    summary: str

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.address.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


class ReaderLeftError(Exception):
    """Whoever read the output closed it; not an OSError, which click would turn into an exit of its own."""


class LazyGroup(click.Group):
    """A group whose help, completion and suggestions need no import of its commands."""

    def __init__(self, *args: Any, lazy_commands: tuple[LazyCommand, ...], **kwargs: Any) -> None:
        """Take click's arguments, and the commands in the order of the help."""
        super().__init__(*args, **kwargs)
        self.lazy_commands = {command.name: command for command in lazy_commands}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy_commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        lazy = self.lazy_commands.get(cmd_name)
        return None if lazy is None else lazy.load()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.lazy_commands and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(unknown_command(name, list(self.lazy_commands)), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderLeftError from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.lazy_commands))
        for section in dict.fromkeys(command.section for command in self.lazy_commands.values()):
            chosen = [each for each in self.lazy_commands.values() if each.section == section]
            with formatter.section(section):
                formatter.write_dl([(each.name.ljust(width), each.summary) for each in chosen])


def unknown_command(name: str, known: list[str]) -> str:
    """Return what to say about a command that does not exist."""
    return f"there is no command {name!r}.{did_you_mean(name, known) or ' There are: ' + ', '.join(known) + '.'}"

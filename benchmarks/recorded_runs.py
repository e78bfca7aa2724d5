"""Runs that are made once: each is a line of JSON in a file, so that they can be resumed and files of them merged.

A run is a frozen dataclass with a `setting`, another one, which says what was asked for; in both, sequences are tuples.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import multiprocessing
import os
import platform
import sys
import traceback
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_type_hints

from quality_surface import SurfaceError


class Run(Protocol):
    """What came of a setting; the text of either says so in a few words."""

    @property
    def setting(self) -> Hashable:
        """What was asked for."""


R = TypeVar("R", bound=Run)
S = TypeVar("S", bound=Hashable)


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take a file to add to, and files to show."""
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="records, one a line; what it has is not made again"
    )
    parser.add_argument("--table", nargs="+", type=Path, metavar="FILE", help="show the tables of records, run nothing")


def add_seed_options(parser: argparse.ArgumentParser, *, n_seeds: int, of_what: str) -> None:
    """Let a command take how many seeds to run, and from which on.

    Args:
        parser: Of the command.
        n_seeds: By default, >= 1.
        of_what: What has them, as "each task".
    """
    parser.add_argument("--seeds", type=at_least_one, default=n_seeds, help=f"number of seeds of {of_what}")
    parser.add_argument("--first-seed", type=at_least_zero, default=0, metavar="SEED", help="the others follow it")


def chosen_seeds(options: argparse.Namespace) -> range:
    """Return the seeds that the options of `add_seed_options` say."""
    return range(options.first_seed, options.first_seed + options.seeds)


def at_least_zero(text: str) -> int:
    """Convert an option's value.

    Raises:
        argparse.ArgumentTypeError: If it is below 0.
    """
    return _at_least(0, text)


def at_least_one(text: str) -> int:
    """Convert an option's value.

    Raises:
        argparse.ArgumentTypeError: If it is below 1.
    """
    return _at_least(1, text)


def run_command(
    options: argparse.Namespace,
    kind: type[R],
    *,
    settings: Callable[[argparse.Namespace], Sequence[S]],
    make: Callable[[S], R],
    report: Callable[[Iterable[R]], str],
    n_processes: int = 1,
) -> int:
    """Show the tables of files, or make the runs that are missing and show theirs.

    Args:
        options: With those of `add_file_options`.
        kind: Class of the runs.
        settings: What is asked for by the options, in order.
        make: Makes a run; whatever it raises is told, and the others go on. Can be pickled.
        report: Returns the tables.
        n_processes: Runs at a time, >= 1.

    Returns:
        The exit code: 1 if a run failed, 2 if what is asked for cannot be had.
    """
    try:
        if options.table:
            print(report(read_runs(kind, options.table)))
            return 0
        print(
            f"{platform.platform()}, {os.cpu_count()} cores, {datetime.date.today()}: {' '.join(sys.argv)}", flush=True
        )
        wanted = settings(options)
        file: Path | None = options.output
        known = {run.setting: run for run in read_runs(kind, [file])} if file is not None and file.exists() else {}
    except SurfaceError as error:
        print(error, file=sys.stderr)
        return 2
    runs: dict[Hashable, R] = {each: known[each] for each in wanted if each in known}
    for outcome in _outcomes([each for each in wanted if each not in known], make, n_processes=n_processes):
        if isinstance(outcome, str):
            print(outcome, flush=True)
            continue
        runs[outcome.setting] = outcome
        if file is not None:
            append_run(file, outcome)
        print(f"{len(runs)}/{len(wanted)} {outcome.setting}: {outcome}", flush=True)
    print(f"\n{report(runs[each] for each in wanted if each in runs)}")
    return 0 if len(runs) == len(wanted) else 1


def _at_least(least: int, text: str) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, but got {value}")
    return value


def _outcomes(settings: Sequence[S], make: Callable[[S], R], *, n_processes: int) -> Iterator[R | str]:
    """Make runs and yield them as they end, or how they failed."""
    outcome = partial(_outcome, make)
    if n_processes == 1:
        yield from map(outcome, settings)
        return
    with ProcessPoolExecutor(n_processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(outcome, setting) for setting in settings]):
            yield future.result()


def _outcome(make: Callable[[S], R], setting: S) -> R | str:
    try:
        return make(setting)
    except Exception:  # a method's own: the others go on
        return f"{setting} failed:\n{traceback.format_exc()}"


def append_run(file: Path, run: Run) -> None:
    """Add a record to a file."""
    with file.open("a") as stream:
        stream.write(json.dumps(dataclasses.asdict(run), separators=(",", ":")) + "\n")  # type: ignore[call-overload]


def read_runs(kind: type[R], files: Sequence[Path]) -> list[R]:
    """Return the records of files, one for each setting (the last one).

    Raises:
        SurfaceError: If a file cannot be read.
    """
    runs: dict[Hashable, R] = {}
    for file in files:
        try:
            lines = file.read_text().splitlines()
        except OSError as error:
            raise SurfaceError(f"{file} cannot be read: {error}") from None
        for number, line in enumerate(lines, start=1):
            try:
                run = _decoded(json.loads(line), kind)
            except (ValueError, TypeError, KeyError) as error:
                raise SurfaceError(f"{file}, line {number} must be the record of a run, but: {error!r}") from None
            runs[run.setting] = run
    return list(runs.values())


def _decoded(plain: Any, kind: Any) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: _decoded(value, hints[name]) for name, value in plain.items()})
    return _tuples(plain)


def _tuples(plain: Any) -> Any:
    return tuple(_tuples(each) for each in plain) if isinstance(plain, list) else plain

"""Measure how good the hyperparameters are that a search finds, at equal numbers of epochs, against its peers.

    python benchmarks/search_quality.py --data DIR --methods zeroin tpe random-asha --output runs.jsonl
    python benchmarks/search_quality.py --surface synthetic --noise 0.01 --output runs.jsonl
    python benchmarks/search_quality.py --table runs.jsonl more.jsonl

DIR holds LCBench's learning curves (see docs/search_quality.md). Every (instance, seed) pair has a random draw of its
own. Cost is epochs trained: a training that was stopped costs what it had, one that goes on from its checkpoint the
difference, with --from-scratch all of it again. Regret is normalized: what the best value observed so far lacks to the
best known one, in what the median of random trainings of full length lacks.

A run that OUTPUT holds already is not made again, and files of several machines or environments are merged by --table.
Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import datetime
import math
import multiprocessing
import os
import platform
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path

from lcbench_surface import lcbench_instances
from quality_methods import OURS, PEERS, SAMPLERS, why_left_out
from quality_report import report
from quality_runs import Conditions, Run, Setting, append_run, make_run, open_surface, read_runs
from quality_surface import N_FULL_TRAININGS, SurfaceError

_SYNTHETIC_INSTANCES = tuple(str(index) for index in range(10))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.table:
            print(report(read_runs(options.table)))
        else:
            return _measure(options)
    except SurfaceError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="LCBench's learning curves")
    parser.add_argument("--surface", choices=("lcbench", "synthetic"), default="lcbench")
    parser.add_argument(
        "--noise", type=_not_negative, default=0.0, help="of the synthetic surface's epochs, in accuracy"
    )
    parser.add_argument("--epochs", type=_at_least_one, default=52, help="of a full training on the synthetic surface")
    parser.add_argument("--methods", nargs="+", default=[OURS, *SAMPLERS, *PEERS], metavar="NAME")
    parser.add_argument("--instances", nargs="+", metavar="NAME", help="all of the data by default")
    parser.add_argument("--seeds", type=_at_least_one, default=5, help="seeds 0, 1, … of each instance")
    parser.add_argument("--budget", type=_at_least_one, metavar="EPOCHS", help="100 full trainings by default")
    parser.add_argument("--workers", type=_at_least_one, default=1, help="asynchronous workers of a search")
    parser.add_argument("--from-scratch", action="store_true", help="going on from a checkpoint costs all epochs again")
    parser.add_argument("--processes", type=_at_least_one, default=1, help="runs at a time")
    parser.add_argument("--output", type=Path, metavar="FILE", help="records, one a line; added to if it exists")
    parser.add_argument("--table", nargs="+", type=Path, metavar="FILE", help="show the tables of records, run nothing")
    return parser


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but got {value}")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be finite and at least 0, but got {value}")
    return value


def _measure(options: argparse.Namespace) -> int:
    """Make the runs that are missing and show the tables; 1 if some failed."""
    print(f"{platform.platform()}, {os.cpu_count()} cores, {datetime.date.today()}: {' '.join(sys.argv)}", flush=True)
    wanted = _settings(options, _installed(options.methods))
    known = {run.setting: run for run in read_runs([options.output])} if _exists(options.output) else {}
    runs = [known[each] for each in wanted if each in known]
    missing = [each for each in wanted if each not in known]
    n_failed = 0
    for outcome in _outcomes(missing, data=options.data, n_processes=options.processes):
        if isinstance(outcome, str):
            n_failed += 1
            print(outcome, flush=True)
            continue
        runs.append(outcome)
        if options.output is not None:
            append_run(options.output, outcome)
        regret = 100.0 * outcome.regret_after(outcome.setting.conditions.budget_epochs)
        print(f"{len(runs)}/{len(wanted)} {_named(outcome.setting)}: {regret:.2f}", flush=True)
    print(f"\n{report(runs)}")
    return 1 if n_failed else 0


def _named(setting: Setting) -> str:
    return f"{setting.method} {setting.instance} seed {setting.seed}"


def _exists(file: Path | None) -> bool:
    return file is not None and file.exists()


def _installed(methods: Sequence[str]) -> list[str]:
    """Return the methods that can be run here, in order."""
    reasons = {method: why_left_out(method) for method in methods}
    for method, reason in reasons.items():
        if reason:
            print(f"{method} is left out: {reason}", flush=True)
    if all(reasons.values()):
        raise SurfaceError("none of the methods is installed.")
    return [method for method, reason in reasons.items() if not reason]


def _settings(options: argparse.Namespace, methods: Sequence[str]) -> list[Setting]:
    """Return the runs that are wanted, so ordered that all methods get on alike."""
    if options.surface == "lcbench" and options.data is None:
        raise SurfaceError("LCBench's learning curves are not part of zeroin: name their directory, --data DIR.")
    is_synthetic = options.surface == "synthetic"
    instances = options.instances or (_SYNTHETIC_INSTANCES if is_synthetic else list(lcbench_instances(options.data)))
    asked = Conditions(
        surface=options.surface,
        noise=options.noise if is_synthetic else 0.0,
        n_epochs=options.epochs,
        budget_epochs=0,
        n_workers=options.workers,
        from_scratch=options.from_scratch,
    )
    conditions: dict[str, Conditions] = {}
    for instance in instances:
        n_epochs = open_surface(asked, instance, data=options.data).n_epochs
        budget = options.budget or max(N_FULL_TRAININGS) * n_epochs
        conditions[instance] = replace(asked, n_epochs=n_epochs, budget_epochs=budget)
    return [
        Setting(conditions=conditions[instance], method=method, instance=instance, seed=seed)
        for seed in range(options.seeds)
        for instance in instances
        for method in methods
    ]


def _outcomes(settings: Sequence[Setting], *, data: Path | None, n_processes: int) -> Iterator[Run | str]:
    """Make runs and yield them as they end, or how they failed."""
    outcome = partial(_outcome, data=data)
    if n_processes == 1:
        yield from map(outcome, settings)
        return
    with ProcessPoolExecutor(n_processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(outcome, setting) for setting in settings]):
            yield future.result()


def _outcome(setting: Setting, *, data: Path | None) -> Run | str:
    try:
        return make_run(setting, data=data)
    except Exception:  # a method's own: the others go on
        return f"{_named(setting)} failed:\n{traceback.format_exc()}"


if __name__ == "__main__":
    sys.exit(main())

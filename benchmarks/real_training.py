"""Measure what searches find by real training: test accuracy and generalization gap of their winners.

    python benchmarks/real_training.py --methods zeroin tpe-hyperband random --seeds 10 --output real.jsonl
    python benchmarks/real_training.py --table real.jsonl

Three tasks of scikit-learn's digits, which need no download; all methods have the search space of the shipped study
`digits`, the same training code and the same epochs. The winner is the training with the best validation accuracy at
its best epoch; the test split is read once, when the search is over. What OUTPUT holds already is not run again.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch
from quality_surface import SurfaceError
from real_report import report
from real_runs import Run, Setting, append_run, make_run, read_runs
from real_searches import N_EPOCHS, TASKS, check_names

from search.errors import StudyInterruptedError

METHODS = ("zeroin", "tpe-hyperband", "random", "zeroin-digits-plan", "zeroin-digits-plan-no-narrowing")
BUDGET_EPOCHS = 264  # half of what the shipped study's stages take


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.table:
            print(report(read_runs(options.table)))
            return 0
        check_names(tasks=options.tasks, methods=options.methods)
        return _measure(options)
    except SurfaceError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), metavar="NAME", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="NAME")
    parser.add_argument("--seeds", type=_at_least_one, default=10, help="seeds 0, 1, … of each task")
    parser.add_argument("--budget", type=_at_least_one, default=BUDGET_EPOCHS, metavar="EPOCHS", help="of a search")
    parser.add_argument("--epochs", type=_at_least_one, default=N_EPOCHS, help="of a full training")
    parser.add_argument("--output", type=Path, metavar="FILE", help="records, one a line; added to if it exists")
    parser.add_argument("--table", nargs="+", type=Path, metavar="FILE", help="show the tables of records, run nothing")
    return parser


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but got {value}")
    return value


def _measure(options: argparse.Namespace) -> int:
    """Make the searches that are missing and show the tables; 1 if some failed."""
    torch.set_num_threads(1)
    print(f"{platform.platform()}, {os.cpu_count()} cores, {datetime.date.today()}: {' '.join(sys.argv)}", flush=True)
    wanted = [
        Setting(task=task, method=method, seed=seed, n_epochs=options.epochs, budget_epochs=options.budget)
        for seed in range(options.seeds)
        for task in options.tasks
        for method in options.methods
    ]
    is_there = options.output is not None and options.output.exists()
    known = {run.setting: run for run in read_runs([options.output])} if is_there else {}
    runs = [known[each] for each in wanted if each in known]
    n_failed = 0
    for setting in [each for each in wanted if each not in known]:
        outcome = _outcome(setting)
        if isinstance(outcome, str):
            n_failed += 1
            print(outcome, flush=True)
            continue
        runs.append(outcome)
        if options.output is not None:
            append_run(options.output, outcome)
        print(
            f"{len(runs)}/{len(wanted)} {_named(setting)}: test {outcome.test_acc:.4f}, val {outcome.val_acc:.4f}, "
            f"{outcome.n_spent} epochs in {outcome.wall_seconds:.0f} s",
            flush=True,
        )
    print(f"\n{report(runs)}")
    return 1 if n_failed else 0


def _named(setting: Setting) -> str:
    return f"{setting.method} {setting.task} seed {setting.seed}"


def _outcome(setting: Setting) -> Run | str:
    try:
        return make_run(setting)
    except StudyInterruptedError:  # by a signal to this process, not a failure
        raise
    except Exception:  # a method's own: the others go on
        return f"{_named(setting)} failed:\n{traceback.format_exc()}"


if __name__ == "__main__":
    sys.exit(main())

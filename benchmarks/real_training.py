"""Measure what searches find by real training: test accuracy and generalization gap of their winners.

    python benchmarks/real_training.py --methods zeroin tpe-hyperband random --seeds 10 --output real.jsonl
    python benchmarks/real_training.py --table real.jsonl

Tasks of scikit-learn's digits, which need no download; all methods have the search space of the shipped study `digits`
(in one task with wider ranges), the same training code and the same epochs. The winner is the training with the best
validation accuracy at its best epoch; the test split is read once, when the search is over. What OUTPUT holds already
is not run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from real_report import report
from real_runs import Run, Setting, make_run
from real_searches import N_EPOCHS, TASKS, check_names
from recorded_runs import add_file_options, add_seed_options, at_least_one, chosen_seeds, run_command

METHODS = ("zeroin", "zeroin-no-narrowing", "tpe-hyperband", "random")
BUDGET_EPOCHS = 264  # 11 full trainings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    return run_command(options, Run, settings=_settings, make=make_run, report=report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), metavar="NAME", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="NAME")
    add_seed_options(parser, n_seeds=10, of_what="each task")
    parser.add_argument("--budget", type=at_least_one, default=BUDGET_EPOCHS, metavar="EPOCHS", help="of a search")
    parser.add_argument("--epochs", type=at_least_one, default=N_EPOCHS, help="of a full training")
    add_file_options(parser)
    return parser


def _settings(options: argparse.Namespace) -> list[Setting]:
    """Return the searches that are wanted, so ordered that all methods get on alike."""
    check_names(tasks=options.tasks, methods=options.methods)
    return [
        Setting(task=task, method=method, seed=seed, n_epochs=options.epochs, budget_epochs=options.budget)
        for seed in chosen_seeds(options)
        for task in options.tasks
        for method in options.methods
    ]


if __name__ == "__main__":
    sys.exit(main())

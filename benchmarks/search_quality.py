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
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from lcbench_surface import lcbench_instances
from quality_methods import OURS, PEERS, SAMPLERS, why_left_out
from quality_report import report
from quality_runs import Conditions, Run, Setting, make_run, open_surface
from quality_surface import N_FULL_TRAININGS, SurfaceError
from recorded_runs import add_file_options, add_seed_options, at_least_one, chosen_seeds, run_command

_SYNTHETIC_INSTANCES = tuple(str(index) for index in range(10))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(
        options,
        Run,
        settings=_settings,
        make=partial(make_run, data=options.data),
        report=report,
        n_processes=options.processes,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="LCBench's learning curves")
    parser.add_argument("--surface", choices=("lcbench", "synthetic"), default="lcbench")
    parser.add_argument(
        "--noise", type=_not_negative, default=0.0, help="of the synthetic surface's epochs, in accuracy"
    )
    parser.add_argument("--epochs", type=at_least_one, default=52, help="of a full training on the synthetic surface")
    parser.add_argument("--methods", nargs="+", default=[OURS, *SAMPLERS, *PEERS], metavar="NAME")
    parser.add_argument("--instances", nargs="+", metavar="NAME", help="all of the data by default")
    add_seed_options(parser, n_seeds=5, of_what="each instance")
    parser.add_argument("--budget", type=at_least_one, metavar="EPOCHS", help="100 full trainings by default")
    parser.add_argument("--workers", type=at_least_one, default=1, help="asynchronous workers of a search")
    parser.add_argument("--from-scratch", action="store_true", help="going on from a checkpoint costs all epochs again")
    parser.add_argument("--processes", type=at_least_one, default=1, help="runs at a time")
    add_file_options(parser)
    return parser


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be finite and at least 0, but got {value}")
    return value


def _installed(methods: Sequence[str]) -> list[str]:
    """Return the methods that can be run here, in order."""
    reasons = {method: why_left_out(method) for method in methods}
    for method, reason in reasons.items():
        if reason:
            print(f"{method} is left out: {reason}", flush=True)
    if all(reasons.values()):
        raise SurfaceError("none of the methods is installed.")
    return [method for method, reason in reasons.items() if not reason]


def _settings(options: argparse.Namespace) -> list[Setting]:
    """Return the runs that are wanted, so ordered that all methods get on alike."""
    methods = _installed(options.methods)
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
        for seed in chosen_seeds(options)
        for instance in instances
        for method in methods
    ]


if __name__ == "__main__":
    sys.exit(main())

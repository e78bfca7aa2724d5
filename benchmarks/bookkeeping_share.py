"""Measure which share of `zeroin run digits` is bookkeeping: asking, reports, storage, tracking.

    python benchmarks/bookkeeping_share.py [--pairs N] [--set KEY=VALUE …]

Imports and the first creation of the MLflow database are not counted. What the coordinator's thread does is counted by
the clock, as if every worker waited for it. Nobody waits for the MLflow thread: it takes processor time from the
workers, so its share is that of its processor time in all that the machine's cores had to give.

With `--pairs N` the study also runs N times with MLflow left out, in turn with N complete runs; seconds per epoch are
compared. That is the check of the second sentence: the difference is all that MLflow costs, its import included.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from no_tracker import NoTracker

from search.paths import StateDirectory
from search.studies_api import run_study
from search.study_definition import StudyDefinition
from search.study_file import built_in_studies, load_study_file
from search.study_record import StudyRecord

_MLFLOW = "mlflow"


def main() -> None:
    """Run the study in temporary state directories and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--devices", default="auto")
    parser.add_argument("--pairs", type=int, default=0, help="runs with and without MLflow (default 0)")
    arguments = parser.parse_args()
    definition = load_study_file(Path(built_in_studies()["digits"]), overrides=arguments.overrides)
    print(f"{platform.platform()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}: {' '.join(sys.argv)}")
    complete = [_run(definition, arguments.devices)]
    _print_shares(complete[0])
    without: list[StudyRecord] = []
    for _ in range(arguments.pairs):
        with patch("search.coordinator.session.MlflowTracker", NoTracker):
            without.append(_run(definition, arguments.devices))
        complete.append(_run(definition, arguments.devices))
    if without:
        _print_comparison(complete[1:], without)


def _run(definition: StudyDefinition, devices: str) -> StudyRecord:
    with tempfile.TemporaryDirectory() as root:
        return run_study(definition, directory=StateDirectory(root=Path(root)), devices=devices)


def _n_epochs(record: StudyRecord) -> dict[str, int]:
    assert record.result is not None
    return dict(record.result.n_epochs)


def _print_shares(record: StudyRecord) -> None:
    n_epochs, seconds, n_cores = _n_epochs(record), record.seconds, os.cpu_count() or 1
    spent = dict(record.bookkeeping_seconds)
    mlflow_seconds = spent.pop(_MLFLOW)
    listed = ", ".join(f"{phase} {count}" for phase, count in n_epochs.items())
    print(f"wall time {seconds:.1f} s, {sum(n_epochs.values())} epochs: {listed}")
    for category, value in sorted(spent.items()):
        print(f"{category:28s} {value:6.2f} s {value / seconds:7.2%} of the wall time")
    mlflow_share = mlflow_seconds / (seconds * n_cores)
    print(f"{'MLflow thread, processor':28s} {mlflow_seconds:6.2f} s {mlflow_share:7.2%} of {n_cores} cores")
    total_seconds = sum(spent.values())
    print(f"{'bookkeeping':28s} {'':8s} {total_seconds / seconds + mlflow_share:7.2%} (goal: under 10 %)")
    both = (total_seconds + mlflow_seconds) / seconds
    print(f"{'as if on one core':28s} {'':8s} {both:7.2%}")


def _print_comparison(complete: list[StudyRecord], without: list[StudyRecord]) -> None:
    ratios = [
        (first.seconds / sum(_n_epochs(first).values())) / (second.seconds / sum(_n_epochs(second).values()))
        for first, second in zip(complete, without, strict=True)
    ]
    shown = " ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"seconds per epoch with MLflow / without: {shown}; median {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()

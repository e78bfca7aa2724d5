"""Measure which share of `zeroin run digits` is bookkeeping: asking, reports, storage, tracking.

    python benchmarks/bookkeeping_share.py [--set KEY=VALUE …]

Imports and the first creation of the MLflow database are not counted. The coordinator's thread is counted by the clock;
the MLflow thread, for which nobody waits, by the processor time that it takes from the workers.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from search.paths import StateDirectory
from search.studies_api import run_study
from search.study_file import built_in_studies, load_study_file


def main() -> None:
    """Run the study in a temporary state directory and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--devices", default="auto")
    arguments = parser.parse_args()
    definition = load_study_file(Path(built_in_studies()["digits"]), overrides=arguments.overrides)
    with tempfile.TemporaryDirectory() as root:
        record = run_study(definition, directory=StateDirectory(root=Path(root)), devices=arguments.devices)
    assert record.result is not None
    print(f"{platform.platform()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}: {' '.join(sys.argv)}")
    print(
        f"wall time {record.seconds:.1f} s, {sum(record.result.n_epochs.values())} epochs: "
        f"{', '.join(f'{phase} {count}' for phase, count in record.result.n_epochs.items())}"
    )
    for category, seconds in sorted(record.bookkeeping_seconds.items()):
        print(f"{category:10s} {seconds:6.2f} s {seconds / record.seconds:7.2%}")
    total = sum(record.bookkeeping_seconds.values())
    print(f"{'together':10s} {total:6.2f} s {total / record.seconds:7.2%}  (goal: under 10 %)")


if __name__ == "__main__":
    main()

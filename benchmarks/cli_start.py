"""How long `zeroin --help` takes, as a ratio to `python -c pass`: interleaved runs, medians.

The target is an answer in under 0.4 s.

    python benchmarks/cli_start.py --runs 15
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "zeroin --help": [sys.executable, "-m", "search", "--help"],
    "zeroin run --help": [sys.executable, "-m", "search", "run", "--help"],
}


def seconds_of(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="runs of each command, after one that is not counted")
    n_runs = parser.parse_args().runs
    measured: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for index in range(n_runs + 1):
        for name, command in COMMANDS.items():
            seconds = seconds_of(command)
            if index:
                measured[name].append(seconds)
    base = statistics.median(measured["python -c pass"])
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{' '.join(sys.argv)}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}")
    for name, runs in measured.items():
        median = statistics.median(runs)
        print(f"{name:<18} {median:.3f} s  ({min(runs):.3f} to {max(runs):.3f})  {median / base:.1f} x python -c pass")


if __name__ == "__main__":
    main()

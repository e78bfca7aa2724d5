"""Measure how many workers and trials a coordinator bears, and how long devices wait for it and for each other.

    python benchmarks/scale.py idle       8 devices, uneven trials, several shapes of study
    python benchmarks/scale.py workers    8, 64, 256 and 1,000 workers
    python benchmarks/scale.py trials     100, 1,000 and 10,000 trials on 64 workers, random and tpe

The workers are virtual (`virtual_workers.py`); all else is real: the coordinator, Optuna's journal file, the epoch
logs, and with `--mlflow` the tracker and its SQLite database, which are left out otherwise. Each setting runs in a
process of its own. "reports/s" is what the coordinator sustains: epochs reported, by the real time that it took to deal
with them and with everything else of the study. "lost" is the share of the devices' time in which they neither trained
nor started up nor were past the last run that could be started. "needless" is the share of all epochs that were trained
early, in a confirmation that turned out not to be wanted, on a device that would have waited otherwise. With
`--wait-for-stragglers`, a stage is over before the next one begins, as a comparison.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from no_tracker import NoTracker
from virtual_workers import Delays, SkippingClock, VirtualWorkers

from search.coordinator.session import Session
from search.coordinator.stores import store_uris
from search.device_use import DeviceUse, lost_share
from search.observer import SilentObserver
from search.paths import StateDirectory
from search.study_file import definition_from_plain
from search.study_record import StudyRecord
from search.trial import CONFIRM

SPACE = {
    "model.learning_rate": {"log": [1.0e-6, 1.0]},
    "model.weight_decay": {"log": [1.0e-7, 1.0e-1]},
    "model.dropout": {"linear": [0.0, 0.8]},
    "model.optimizer": {"choice": ["sgd", "adamw"]},
    "model.momentum": {"one_minus_log": [0.5, 0.99], "when": {"model.optimizer": ["sgd"]}},
}


def study(stages: list[tuple[int, int, str]], *, finish: bool, pruner: bool) -> dict[str, Any]:
    """Return a study file as plain data; a stage is trials, epochs and sampler."""
    return {
        "study": "scale",
        "seed": 0,
        "model": {"class_path": "package.Net"},
        "objective": {"monitor": "val_acc", "direction": "maximize"},
        "space": SPACE,
        "stages": [
            {"name": f"stage{index}", "n_trials": n_trials, "max_epochs": n_epochs, "sampler": sampler}
            for index, (n_trials, n_epochs, sampler) in enumerate(stages)
        ],
        "pruner": "median" if pruner else "none",
        "early_stopping": "none",
        "finish": {"top_k": 3, "n_seeds": 3} if finish else "none",
    }


IDLE: dict[str, dict[str, Any]] = {
    f"8 devices, {'/'.join(str(stage[0]) for stage in stages)} trials{', pruned' if pruner else ''}, spread {spread}": {
        "study": study(stages, finish=True, pruner=pruner),
        "n_workers": 8,
        "spread": spread,
    }
    for stages, pruner, spread in (
        ([(48, 2, "qmc"), (24, 6, "tpe"), (12, 24, "tpe")], True, 0.5),
        ([(96, 2, "qmc"), (48, 6, "tpe"), (24, 24, "tpe")], True, 0.5),
        ([(256, 2, "qmc"), (128, 6, "tpe"), (64, 24, "tpe")], True, 0.5),
        ([(256, 2, "qmc"), (128, 6, "tpe"), (64, 24, "tpe")], False, 0.5),
        ([(256, 2, "qmc"), (128, 6, "tpe"), (64, 24, "tpe")], True, 1.0),
    )
}

WORKERS: dict[str, dict[str, Any]] = {
    f"{n_workers} workers, {6 * n_workers} trials, epochs of 30 s": {
        "study": study([(4 * n_workers, 4, "qmc"), (2 * n_workers, 12, "tpe")], finish=True, pruner=True),
        "n_workers": n_workers,
        "spread": 0.5,
    }
    for n_workers in (8, 64, 256, 1000)
}

TRIALS: dict[str, dict[str, Any]] = {
    f"{n_trials} trials, {sampler}": {
        "study": study([(n_trials, 5, sampler)], finish=False, pruner=True),
        "n_workers": 64,
        "spread": 0.5,
    }
    for sampler in ("random", "tpe")
    for n_trials in (100, 1000, 10000)
}

SETTINGS = {"idle": IDLE, "workers": WORKERS, "trials": TRIALS}


def measure(setting: dict[str, Any], *, mlflow: bool, waits: bool) -> dict[str, float]:
    """Run a setting in this process."""
    definition = definition_from_plain(setting["study"])
    clock = SkippingClock()
    engine = VirtualWorkers(n_slots=setting["n_workers"], clock=clock, delays=Delays(spread=setting["spread"]))
    before_bytes = _peak_bytes()
    with tempfile.TemporaryDirectory() as root:
        state = StateDirectory(root=Path(root))
        session = Session(
            definition=definition,
            uris=store_uris(state, definition),
            state=state,
            engine=engine,
            observer=SilentObserver(),
            clock=clock,
        )
        with ExitStack() as patches:
            if not mlflow:
                patches.enter_context(patch("search.coordinator.session.MlflowTracker", NoTracker))
            if waits:
                patches.enter_context(patch("search.coordinator.search_stage.may_go_on", _is_over))
            began, cpu_began = time.perf_counter(), time.process_time()
            record = session.run()
            seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    spent = record.device_use
    total = sum(spent.values())
    return {
        "n_reports": engine.n_reports,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "mlflow_cpu_seconds": record.bookkeeping_seconds["mlflow"],
        "added_bytes": _peak_bytes() - before_bytes,
        "virtual_hours": total / engine.n_slots / 3600.0,
        "needless": _n_needless(record) / engine.n_reports,
        "lost": lost_share(spent),
        # Counted by the workers themselves: what they waited for the coordinator and at stage borders.
        "lost_as_workers_see_it": 1.0
        - (engine.trained_seconds + spent[DeviceUse.STARTING] + spent[DeviceUse.ENDING]) / total,
        **{use.value: spent[use] / total for use in DeviceUse},
    }


def _is_over(*, n_unfinished: int, **_: int) -> bool:
    return n_unfinished == 0


def _n_needless(record: StudyRecord) -> int:
    """Epochs of confirmations that were stopped."""
    assert record.result is not None
    n_wanted = sum(len(each.rewards) for each in record.result.confirmations) * record.definition.stages[-1].max_epochs
    return record.result.n_epochs.get(CONFIRM, 0) - n_wanted


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(SETTINGS))
    parser.add_argument("--mlflow", action="store_true", help="with the real tracker and its SQLite database")
    parser.add_argument("--wait-for-stragglers", action="store_true", help="let no stage begin before the last is over")
    parser.add_argument("--only", default="", metavar="TEXT", help="settings whose name begins so")
    parser.add_argument("--one", metavar="NAME", help="run this setting in this process and print JSON")
    arguments = parser.parse_args()
    if arguments.one:
        setting = SETTINGS[arguments.what][arguments.one]
        figures = measure(setting, mlflow=arguments.mlflow, waits=arguments.wait_for_stragglers)
        print(json.dumps(figures))
        return
    print(f"{platform.platform()}, {os.cpu_count()} cores, {datetime.date.today()}: {' '.join(sys.argv)}")
    for name, setting in SETTINGS[arguments.what].items():
        if name.startswith(arguments.only):
            _show(name, setting, _in_a_process(name, arguments))


def _in_a_process(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    options = {"--mlflow": arguments.mlflow, "--wait-for-stragglers": arguments.wait_for_stragglers}
    chosen = [option for option, is_on in options.items() if is_on]
    command = [sys.executable, __file__, arguments.what, "--one", name, *chosen]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def _show(name: str, setting: dict[str, Any], figures: dict[str, float]) -> None:
    n_trials = sum(stage["n_trials"] for stage in setting["study"]["stages"])
    cpu_ms = 1e3 * figures["cpu_seconds"]
    print(
        f"{name}: {figures['n_reports']:.0f} reports in {figures['seconds']:.1f} s = "
        f"{figures['n_reports'] / figures['seconds']:.0f} reports/s; CPU {figures['cpu_seconds']:.1f} s "
        f"({cpu_ms / n_trials:.2f} ms a trial, {cpu_ms / (n_trials * math.log2(n_trials)):.3f} ms by n log2 n), "
        f"of it MLflow {figures['mlflow_cpu_seconds']:.1f} s; memory +{figures['added_bytes'] / 2**20:.0f} MiB"
    )
    shares = ", ".join(f"{use.value} {figures[use.value]:.2%}" for use in DeviceUse)
    print(
        f"    {figures['virtual_hours']:.2f} h simulated; lost {figures['lost']:.2%} (as the workers see it "
        f"{figures['lost_as_workers_see_it']:.2%}), needless {figures['needless']:.2%}; {shares}",
        flush=True,
    )


if __name__ == "__main__":
    main()

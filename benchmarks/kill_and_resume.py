"""Kill a study at random moments, resume it each time, and compare it with one that nobody disturbed.

    python benchmarks/kill_and_resume.py --kills 20 --seed 0

Half of the kills hit the coordinator, half its worker. With one worker everything must be as if nothing had happened:
the same trials, values, ranges and winner, one MLflow run each, none left running, and at most the epoch under way
trained again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_record import StudyRecord, StudyState

STUDY = """
study: short
seed: 5
model: {class_path: counting_net.CountingNet, init_args: {in_channels: 1, n_classes: 10}}
data: {class_path: lightning_modules.DigitsDataModule, init_args: {batch_size: 64}}
objective: {monitor: val_acc, direction: maximize}
space:
  model.learning_rate: {log: [1.0e-4, 1.0]}
  model.dropout: {log: [0.01, 0.8], or_zero: 0.1}
  model.lr_schedule: {choice: [exponential, cosine]}
stages:
  - {name: coarse, n_trials: 13, max_epochs: 2, sampler: qmc}
  - {name: fine, n_trials: 5, max_epochs: 5, sampler: tpe, promote: 2}
pruner: {name: median, n_startup_trials: 4, n_warmup_epochs: 1}
early_stopping: {patience_epochs: 3, min_delta: 0.0}
finish: {top_k: 2, n_seeds: 2, ensemble: true}
"""

# Notes each epoch that really is trained, whatever the stores say.
NET = """
from pathlib import Path

from lightning_modules import ConvNet


class CountingNet(ConvNet):
    def on_train_epoch_end(self):
        super().on_train_epoch_end()
        with (Path(self.trainer.default_root_dir) / "trained.txt").open("a") as file:
            file.write(f"{self.current_epoch + 1}\\n")
"""


MISSED = "finished before the kill"
"""The moment of a kill that hit nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One violent moment.

    Attributes:
        victim: ``coordinator`` or ``worker``.
        after_seconds: Time since the first sign of training.
    """

    victim: str
    after_seconds: float


def prepare(directory: Path) -> None:
    """Write the study file and its module, as a user would have them in a working directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "short.yaml").write_text(STUDY)
    (directory / "counting_net.py").write_text(NET)


def run_to_end(directory: Path) -> StudyRecord:
    """Run (or resume) the study undisturbed."""
    with _coordinator(directory) as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output.decode()
    return read_study("short", directory=StateDirectory(root=directory / "mlruns"))


def run_and_kill(directory: Path, kill: Kill) -> str:
    """Start (or resume) the study and kill the victim; return what the moment was, in words, or `MISSED`.

    Raises:
        AssertionError: If a worker outlives its coordinator by more than 5 seconds, or a killed worker ends the study.
    """
    with _coordinator(directory) as process:
        _wait_for_training(process, directory)
        try:
            process.wait(kill.after_seconds)
        except subprocess.TimeoutExpired:
            pass
        else:
            return MISSED
        workers = psutil.Process(process.pid).children(recursive=True)
        moment = _moment(directory)
        if kill.victim == "coordinator":
            process.send_signal(signal.SIGKILL)
            _, alive = psutil.wait_procs(workers, timeout=5)
            assert not alive, f"outlived their coordinator: {alive}"
            return moment
        if not workers:
            moment = MISSED
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output.decode()
        return moment


def fingerprint(record: StudyRecord) -> dict[str, Any]:
    """Return all that must not depend on kills."""
    assert record.result is not None
    result = replace(record.result, seconds=0.0, device_seconds=0.0, device_use={}, time_ms=0)
    return {
        "trials": [(t.record.key, dict(t.record.hyperparameters), t.record.seed) for t in record.trials],
        "continued": [(t.record.key, t.record.continues, t.record.n_taken_over) for t in record.trials],
        "ends": [(t.record.key, t.record.state.value, t.record.reason) for t in record.trials],
        "metrics": [[_timeless(dict(e.metrics)) for e in t.record.epochs] for t in record.trials],
        "ranges": [opening.narrowed for opening in record.openings],
        "result": result,
    }


def check(record: StudyRecord, expected: StudyRecord, directory: Path, *, n_kills: int) -> None:
    """Compare a study that was killed with one that was not.

    Each kill may cost the epoch under way, or another reading of the test split. A killed worker costs its trial a
    retry; the result's epochs stay the same.

    Raises:
        AssertionError: If anything was lost, doubled or left running.
    """
    assert record.state is StudyState.FINISHED
    assert record.result is not None
    assert 1 <= record.result.n_test_readings <= 1 + n_kills, record.result.n_test_readings
    found = fingerprint(replace(record, result=replace(record.result, n_test_readings=1)))
    for part, value in fingerprint(expected).items():
        assert found[part] == value, part
    assert record.spent.n_epochs >= expected.spent.n_epochs, "the account has lost epochs"
    _check_mlflow(record, directory)
    assert sum(bool(trial.record.continues) for trial in record.trials) == 2
    taken_over = {trial.record.key: trial.record.n_taken_over for trial in record.trials}
    n_repeated = 0
    for path in (directory / "mlruns" / "trials" / "short").glob("*/trained.txt"):
        epochs = [int(line) for line in path.read_text().split()]
        n_taken_over = taken_over.get(path.parent.name, 0)
        first, last = min(epochs), max(epochs)
        # What a trial lost after its last report, the one that continues it trains again.
        assert first <= 1 + n_taken_over, path
        assert set(epochs) == set(range(first, last + 1)), path
        n_repeated += len(epochs) - (last - n_taken_over)
    assert n_repeated <= n_kills, n_repeated


def _check_mlflow(record: StudyRecord, directory: Path) -> None:
    import mlflow

    assert record.result is not None
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{directory / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("short")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    keys = Counter(run.data.tags.get("zeroin.trial", "study") for run in runs)
    n_confirmations = sum(len(each.rewards) for each in record.result.confirmations)
    assert max(keys.values()) == 1, keys
    expected = 1 + len(record.trials) + n_confirmations + len(record.result.refit_keys)
    assert len(runs) == expected, (len(runs), expected, sorted(keys))
    assert "RUNNING" not in {run.info.status for run in runs}
    by_key = {run.data.tags.get("zeroin.trial"): run for run in runs}
    for trial in record.trials:
        history = client.get_metric_history(by_key[trial.record.key].info.run_id, "val_acc")
        points = sorted((point.step, point.value) for point in history)
        assert points == [(epoch.epoch, epoch.metrics["val_acc"]) for epoch in trial.record.epochs], trial.record.key


@contextlib.contextmanager
def _coordinator(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "ZEROIN_HOME": str(directory / "mlruns"), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "search", "run", "short.yaml", "--devices", "cpu:1", "--plain"]
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _wait_for_training(process: subprocess.Popen[bytes], directory: Path) -> None:
    """Wait until this coordinator has had one epoch trained."""
    before = _n_epochs_trained(directory)
    deadline = time.monotonic() + 120
    while _n_epochs_trained(directory) == before and process.poll() is None:
        assert time.monotonic() < deadline, "no training within 2 minutes"
        time.sleep(0.05)  # polls another process's files


def _n_epochs_trained(directory: Path) -> int:
    paths = (directory / "mlruns" / "trials" / "short").glob("*/trained.txt")
    return sum(len(path.read_text().split()) for path in paths)


def _moment(directory: Path) -> str:
    logs = (directory / "mlruns" / "trials" / "short").glob("*/epochs.jsonl")
    newest = max(logs, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return "no trial yet"
    *whole_lines, _ = newest.read_text().split("\n")  # the last one may be half written
    return f"{newest.parent.name}: {_kind(whole_lines[-1]) if whole_lines else 'opened'}"


def _kind(line: str) -> str:
    entry = json.loads(line)
    return next((f"{name} {entry[name]}" for name in ("epoch", "end") if name in entry), "begun")


def _timeless(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != "epoch_seconds"}


def main() -> None:
    """Do what the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random_ = random.Random(arguments.seed)
    print(f"{platform.platform()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}: {' '.join(sys.argv)}")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        prepare(root / "undisturbed")
        began = time.monotonic()
        with _coordinator(root / "undisturbed") as process:
            _wait_for_training(process, root / "undisturbed")
            began = time.monotonic()
            process.communicate(timeout=300)
        seconds = time.monotonic() - began
        expected = run_to_end(root / "undisturbed")
        print(f"undisturbed: {len(expected.trials)} trials, {seconds:.1f} s after the first epoch")
        n_hits = 0
        for index in range(arguments.kills):
            directory = root / f"killed-{index}"
            prepare(directory)
            victim = ("coordinator", "worker")[index % 2]
            kill = Kill(victim=victim, after_seconds=random_.uniform(0.0, 0.7 * seconds))
            moment = run_and_kill(directory, kill)
            n_hits += moment != MISSED
            record = run_to_end(directory)
            check(record, expected, directory, n_kills=1)
            print(
                f"{index + 1:3d}. {victim} killed {kill.after_seconds:5.1f} s in, at {moment}: all as undisturbed",
                flush=True,
            )
        print(f"{n_hits} of {arguments.kills} kills hit; every study ended as the undisturbed one")


if __name__ == "__main__":
    main()

"""One study with real workers in which everything goes wrong, next to one in which only the model's own errors do."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from engine_conformance import living_children
from faulty_net import FAULTS_VARIABLE, ONCE
from forked_workers import WorkerTemplate
from study_runs import Listener, run_session

from search.engines.devices import DeviceSlot
from search.engines.local import LocalEngine
from search.paths import StateDirectory
from search.study_file import definition_from_plain
from search.study_record import StudyRecord, StudyState
from search.trial import TrialState
from search.worker.output_file import MOST_BYTES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
OWN_ERRORS = {"trial-0001": "raise", "trial-0004": "exit", "trial-0006": "nan"}
FAULTS = {**OWN_ERRORS, **{f"trial-{7 + index:04d}": fault for index, fault in enumerate(ONCE)}, "trial-0014": "flood"}
N_EPOCHS = 3

STUDY: dict[str, Any] = {
    "study": "faulty",
    "seed": 3,
    "model": {"class_path": "faulty_net.FaultyNet"},
    "data": {"class_path": "small_training.Data"},
    "objective": {"monitor": "val_acc", "direction": "maximize"},
    "space": {"model.learning_rate": {"log": [1.0e-3, 1.0]}},
    "stages": [{"name": "only", "n_trials": 15, "max_epochs": N_EPOCHS, "sampler": "qmc"}],
    "pruner": "none",
    "resources": {"hang_timeout_minutes": 0.1},
}


@dataclass(frozen=True)
class Done:
    """A study that was run."""

    record: StudyRecord
    state: StateDirectory
    notices: list[str]

    def begun(self) -> dict[str, list[int]]:
        """Epochs that were begun, by trial, in their order."""
        paths = (self.state.root / "trials" / "faulty").glob("*/begun.txt")
        return {path.parent.name: [int(line) for line in path.read_text().split()] for path in paths}


def run(state: StateDirectory, faults: dict[str, str], *, n_slots: int) -> Done:
    study, listener = definition_from_plain(STUDY), Listener()
    os.environ[FAULTS_VARIABLE] = json.dumps(faults)
    slots = [
        DeviceSlot(label=f"CPU slot {index}", environment={"CUDA_VISIBLE_DEVICES": ""}) for index in range(n_slots)
    ]
    engine = LocalEngine(slots, heartbeat_timeout_seconds=6.0)
    return Done(run_session(state, engine, study, observer=listener), state, listener.notices)


@pytest.fixture(scope="module")
def studies(
    tmp_path_factory: pytest.TempPathFactory, copied_mlflow_database: Any, worker_template: WorkerTemplate
) -> list[Done]:
    """The study with the model's own errors only, and with all faults."""
    done = []
    with pytest.MonkeyPatch.context() as patch, worker_template.used():
        patch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(ROOT / "tests"))))
        patch.setenv(FAULTS_VARIABLE, "{}")
        for name, faults, n_slots in (("undisturbed", OWN_ERRORS, 1), ("disturbed", FAULTS, 2)):
            state = StateDirectory(root=tmp_path_factory.mktemp(name) / "mlruns")
            copied_mlflow_database(state.mlflow_database)
            done.append(run(state, faults, n_slots=n_slots))
    assert living_children() == []
    return done


def outcome(record: StudyRecord) -> list[object]:
    """All of the trials that must not depend on what befell their workers."""
    return [
        (
            trial.record.key,
            dict(trial.record.hyperparameters),
            trial.record.state,
            trial.record.reason,
            [{k: v for k, v in e.metrics.items() if k != "epoch_seconds"} for e in trial.record.epochs],
        )
        for trial in record.trials
    ]


def test_every_trial_ends_as_if_nothing_had_happened(studies: list[Done]) -> None:
    undisturbed, disturbed = studies
    assert disturbed.record.state is StudyState.FINISHED
    assert repr(outcome(disturbed.record)) == repr(outcome(undisturbed.record))  # NaN equals NaN there
    states = {trial.record.key: trial.record for trial in disturbed.record.trials}
    assert (states["trial-0001"].state, states["trial-0001"].reason) == (TrialState.FAILED, "ValueError: no such layer")
    assert (states["trial-0004"].state, states["trial-0004"].reason) == (TrialState.FAILED, "SystemExit: 3")
    assert states["trial-0006"].state is TrialState.DIVERGED
    assert Counter(each.state for each in states.values())[TrialState.COMPLETE] == 12
    assert disturbed.record.result is not None
    assert undisturbed.record.result is not None
    assert disturbed.record.result.best_trial_number == undisturbed.record.result.best_trial_number


def test_nothing_is_lost_but_the_epoch_under_way(studies: list[Done]) -> None:
    undisturbed, disturbed = (each.begun() for each in studies)
    assert {FAULTS[key] for key, epochs in disturbed.items() if epochs != undisturbed[key]} == set(ONCE)
    assert {tuple(disturbed[key]) for key, fault in FAULTS.items() if fault in ONCE} == {(1, 2, 2, 3)}
    retries = {trial.record.key: trial.record.n_retries for trial in studies[1].record.trials}
    assert {key for key, n_retries in retries.items() if n_retries} == {k for k, f in FAULTS.items() if f in ONCE}
    assert max(retries.values()) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("sigkill", "killed by SIGKILL"),
        ("sigsegv", "killed by SIGSEGV"),
        ("sigstop", "no heartbeat for 6 s"),
        ("fork", "exited with status 9"),
        ("out_of_memory", "out of memory, tried once more alone on CPU slot "),
        ("deadlock", "hung, no batch was finished for "),
        ("loader_deadlock", "hung, no batch was finished for "),
    ],
)
def test_the_user_is_told_what_befell_the_worker(fault: str, reason: str, studies: list[Done]) -> None:
    key = next(key for key, each in FAULTS.items() if each == fault)
    (notice,) = [each for each in studies[1].notices if each.startswith(f"{key}: ")]
    assert reason in notice
    assert notice.endswith("continuing from its last checkpoint.")


def test_the_output_of_a_hung_training_shows_where_it_was(studies: list[Done]) -> None:
    for fault in ("deadlock", "loader_deadlock"):
        key = next(key for key, each in FAULTS.items() if each == fault)
        output = studies[1].state.study("faulty").trial(key).output.read_text()
        assert "in _take_worker" in output


def test_megabytes_of_output_are_cut_down(studies: list[Done]) -> None:
    output = studies[1].state.study("faulty").trial("trial-0014").output
    assert 0 < output.stat().st_size < MOST_BYTES < 30 * 1_200_000


def test_mlflow_has_one_run_a_trial_and_every_epoch_once(studies: list[Done]) -> None:
    for done in studies:
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{done.state.mlflow_database}")
        (experiment,) = [each for each in client.search_experiments() if each.name == "faulty"]
        runs = client.search_runs([experiment.experiment_id])
        keys = Counter(each.data.tags.get("zeroin.trial", "study") for each in runs)
        assert keys == {"study": 1, **{trial.record.key: 1 for trial in done.record.trials}}
        assert {each.info.status for each in runs} == {"FINISHED", "FAILED", "KILLED"}
        by_key = {each.data.tags.get("zeroin.trial"): each for each in runs}
        for trial in done.record.trials:
            history = client.get_metric_history(by_key[trial.record.key].info.run_id, "val_acc")
            assert sorted(point.step for point in history) == [epoch.epoch for epoch in trial.record.epochs]

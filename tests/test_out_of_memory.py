"""A trial that runs out of memory is tried once more with its device for itself; a worker that leaks is replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import Coordinator, Net, assembly, assignment
from study_runs import Listener
from test_coordinator import definition, fingerprint, run
from virtual_engine import Faults, VirtualEngine

from search.messages import Cause, EpochReport, Inspect
from search.paths import StateDirectory
from search.trial import TrialState
from search.worker.inspection import inspect_assembly
from search.worker.training import train

GIB = 1 << 30
ONE_STAGE = [{"name": "only", "n_trials": 8, "max_epochs": 4, "sampler": "qmc"}]


def packed(faults: Faults) -> VirtualEngine:
    """Two devices with three workers each."""
    return VirtualEngine(n_slots=6, n_devices=2, faults=faults)


def test_it_is_retried_alone_once_while_the_others_wait(state: StateDirectory) -> None:
    study = definition(stages=ONE_STAGE, finish="none", pruner="none")
    engine, listener = packed(Faults(runs_out_of_memory={"trial-0001": 1})), Listener()
    record = run(state, engine, study, observer=listener)
    assert {trial.record.state for trial in record.trials} == {TrialState.COMPLETE}
    assert any("trial-0001" in others for others in engine.company.values())  # it had company before
    assert [engine.company["trial-0001", epoch] for epoch in (2, 3, 4)] == [set()] * 3
    assert record.trials[1].record.n_retries == 1
    assert any("trial-0001: out of memory, tried once more alone on device 0" in each for each in listener.notices)
    assert len(engine.retired) == 1  # its process is replaced to free what it holds
    # Those that made room go on where they were: every epoch was trained once.
    assert sorted(engine.trained) == sorted({*engine.trained})
    assert len(engine.trained) == 8 * 4
    others = {key for key, epoch in engine.company if key != "trial-0001" and engine.company[key, epoch]}
    assert len(others) >= 5  # the devices are shared otherwise


@pytest.mark.slow
def test_one_that_loses_its_worker_while_it_is_alone_stays_alone(state: StateDirectory) -> None:
    faults = Faults(runs_out_of_memory={"trial-0001": 1})

    def lose_worker(report: EpochReport) -> None:
        if (report.trial_key, report.epoch) == ("trial-0001", 2):
            faults.loses_worker["trial-0001"] = 1

    engine = VirtualEngine(n_slots=6, n_devices=2, faults=faults, on_epoch=lose_worker)
    study = definition(stages=[ONE_STAGE[0] | {"n_trials": 20}], finish="none", pruner="none")
    record = run(state, engine, study)
    assert {trial.record.state for trial in record.trials} == {TrialState.COMPLETE}
    assert faults.loses_worker == {"trial-0001": 0}
    assert [engine.company["trial-0001", epoch] for epoch in (2, 3, 4)] == [set()] * 3


def test_a_trial_is_given_up_after_so_many_attempts_whatever_ended_them(state: StateDirectory) -> None:
    faults = Faults(runs_out_of_memory={"trial-0001": 1}, loses_worker={"trial-0001": 2})
    record = run(state, VirtualEngine(faults=faults), definition(stages=ONE_STAGE, finish="none", pruner="none"))
    assert record.trials[1].record.reason == "given up after 3 attempts; last: killed by SIGKILL"


def test_out_of_memory_alone_as_well_it_fails_with_that_reason(state: StateDirectory) -> None:
    study = definition(stages=ONE_STAGE, finish="none", pruner="none")
    engine = packed(Faults(runs_out_of_memory={"trial-0001": 9, "trial-0003": 1}))
    record = run(state, engine, study)
    failed = record.trials[1].record
    assert failed.state is TrialState.FAILED
    assert failed.reason == "OutOfMemoryError: CUDA out of memory. (out of memory, alone on device 0 as well)"
    assert [trial.record.state for trial in record.trials if trial is not record.trials[1]] == [TrialState.COMPLETE] * 7
    assert len(engine.retired) == 3
    assert [key for key, epoch in engine.trained if key == "trial-0001"] == ["trial-0001"]


@pytest.mark.slow
def test_without_packing_the_result_is_that_of_an_undisturbed_study(
    state: StateDirectory, tmp_path: Path, copied_mlflow_database: Any
) -> None:
    other = StateDirectory(root=tmp_path / "undisturbed")
    copied_mlflow_database(other.mlflow_database)
    expected = run(other, VirtualEngine())
    record = run(state, VirtualEngine(faults=Faults(runs_out_of_memory={"trial-0002": 1, "confirm-0000-seed0": 1})))
    assert fingerprint(record) == fingerprint(expected)


def test_a_worker_that_leaks_is_replaced_between_trials(state: StateDirectory) -> None:
    study = definition(stages=ONE_STAGE, finish="none", pruner="none")
    listener = Listener()
    engine = VirtualEngine(resident_bytes=lambda key: (1 + int(key[-1]) // 2) * GIB)
    record = run(state, engine, study, observer=listener)
    # 1, 1, 2, 2, 3: more than twice the first; the next worker begins with 3 and never doubles.
    assert engine.retired == [0]
    assert [each for each in listener.notices if "held 3.0 GiB after trial-0004" in each]
    assert len(engine.trained) == len({*engine.trained}) == 8 * 4
    assert all(trial.record.n_retries == 0 for trial in record.trials)


class Raises(Net):
    """Raises in its second epoch.

    Args:
        what: Kind of error.
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def on_train_epoch_start(self) -> None:
        errors: dict[str, Callable[[], BaseException]] = {
            "torch": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "host": lambda: MemoryError(),
            "cudnn": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
            "cpu": lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
            "value": lambda: ValueError("out of memory, says a user"),
            "other": lambda: RuntimeError("shapes do not fit"),
        }
        if self.trainer.max_epochs == 100 or self.current_epoch == 1:
            if self.what == "wrapped":
                raise RuntimeError("in my module") from errors["torch"]()
            raise errors[self.what]()


@pytest.mark.parametrize("what", ["torch", "host", "cudnn", "cpu", "wrapped"])
def test_every_way_to_run_out_of_memory_is_recognized(what: str, tmp_path: Path) -> None:
    made = assembly(Raises, model_args={"what": what})
    ended = train(assignment(tmp_path, assembly=made), Coordinator())
    assert (ended.cause, ended.n_epochs) == (Cause.OUT_OF_MEMORY, 1)
    assert inspect_assembly(Inspect(assembly=made, searched=())).out_of_memory


@pytest.mark.parametrize("what", ["value", "other"])
def test_other_errors_are_the_users(what: str, tmp_path: Path) -> None:
    made = assembly(Raises, model_args={"what": what})
    assert train(assignment(tmp_path, assembly=made), Coordinator()).cause is Cause.USER_CODE
    assert not inspect_assembly(Inspect(assembly=made, searched=())).out_of_memory

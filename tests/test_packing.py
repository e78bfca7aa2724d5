"""How many trials share a device follows from what one takes of its memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_training import Net, assembly
from study_runs import Listener
from test_coordinator import PLAIN, definition, run
from virtual_engine import VirtualEngine

from search.coordinator.packing import packing
from search.messages import Inspect, InspectionResult
from search.paths import StateDirectory
from search.worker.inspection import inspect_assembly
from search.worker.memory import MemoryMeter

GIB = 1 << 30
FREE = InspectionResult(
    error="",
    error_key="",
    metrics=("val_acc",),
    notices=(),
    n_parameters=1,
    measures_gap=True,
    has_test_data=True,
    traceback="",
)


def measured(*, free: int, trial: int, worker: int = 0, n_cores: int = 64) -> dict[str, int]:
    return {"free_bytes": free, "trial_bytes": trial, "worker_bytes": worker, "n_cores": n_cores}


def inspected(**figures: int) -> InspectionResult:
    return dataclasses.replace(FREE, **figures)


@pytest.mark.parametrize(
    ("figures", "n_devices", "n_trials", "reason"),
    [
        (measured(free=80 * GIB, trial=20 * GIB), 1, 3, "limited by its memory: a trial takes 20.00 GiB of 80.00 GiB"),
        (measured(free=79 * GIB, trial=9 * GIB, worker=1 * GIB), 1, 7, "a trial takes 10.00 GiB of 80.00 GiB"),
        (measured(free=80 * GIB, trial=1 * GIB), 1, 8, "8 trials on each device, limited to that at most"),
        (measured(free=80 * GIB, trial=1 * GIB, n_cores=16), 4, 4, "limited by 16 CPU cores"),
        (measured(free=80 * GIB, trial=1 * GIB, n_cores=2), 4, 1, "1 trial on each device, limited by 2 CPU cores"),
        (measured(free=80 * GIB, trial=79 * GIB), 1, 1, "1 trial on each device, limited by its memory"),
        (measured(free=0, trial=0), 1, 1, "not known"),
    ],
)
def test_the_number_follows_from_memory_and_cores(
    figures: dict[str, int], n_devices: int, n_trials: int, reason: str
) -> None:
    found = packing(inspected(**figures), what="a trial", n_devices=n_devices)
    assert found.n_trials == n_trials
    assert reason in found.reason


@given(
    free=st.integers(1, 200 * GIB),
    trial=st.integers(1, 100 * GIB),
    worker=st.integers(0, 2 * GIB),
    n_cores=st.integers(1, 256),
    n_devices=st.integers(1, 16),
)
def test_what_is_packed_fits(free: int, trial: int, worker: int, n_cores: int, n_devices: int) -> None:
    memory = inspected(**measured(free=free, trial=trial, worker=worker, n_cores=n_cores))
    n_trials = packing(memory, what="a trial", n_devices=n_devices).n_trials
    assert 1 <= n_trials <= 8
    if n_trials > 1:
        assert n_trials * trial + (n_trials - 1) * worker <= 0.9 * free + 1
        assert n_trials * n_devices <= n_cores


class Inspected(VirtualEngine):
    """Keeps what it was asked to inspect, and answers a `width` of 512 as told."""

    def __init__(self, *, largest: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.asked: list[dict[str, Any]] = []
        self._largest = largest
        self._middle = self._memory

    def send(self, worker: int, message: Any) -> None:
        if isinstance(message, Inspect):
            self.asked.append(dict(message.assembly.model_args))
            self._memory = self._largest if message.assembly.model_args.get("width") == 512 else self._middle
        super().send(worker, message)


AUTO = {
    "stages": [{"name": "only", "n_trials": 12, "max_epochs": 2, "sampler": "qmc"}],
    "finish": "none",
    "pruner": "none",
    "resources": {"trials_per_device": "auto"},
}


def test_slots_are_added_after_the_largest_configuration_was_tried(state: StateDirectory) -> None:
    space = {**PLAIN["space"], "model.width": {"int_log": [8, 512]}, "model.blocks": {"choice": [2, 8, 4]}}
    engine = Inspected(
        n_slots=2, memory=measured(free=80 * GIB, trial=10 * GIB), largest=measured(free=80 * GIB, trial=20 * GIB)
    )
    listener = Listener()
    record = run(state, engine, definition(space=space, **AUTO), observer=listener)
    assert [each["blocks"] for each in engine.asked] == [8, 8]
    assert [each["width"] for each in engine.asked] == [62, 512]
    assert engine.n_slots == 2 * 3
    assert "3 trials on each device, limited by its memory: the largest trial takes 20.00 GiB of 80.00 GiB." in (
        listener.notices
    )
    assert max(len(others) for others in engine.company.values()) == 2
    assert len(record.trials) == 12


def test_a_largest_configuration_that_does_not_fit_is_packed_with_nothing(state: StateDirectory) -> None:
    space = {**PLAIN["space"], "model.width": {"int_log": [8, 512]}}
    engine = Inspected(
        n_slots=2,
        memory=measured(free=80 * GIB, trial=10 * GIB),
        largest={"out_of_memory": True},
        inspection_error=("", ""),
    )
    listener = Listener()
    run(state, engine, definition(space=space, **AUTO), observer=listener)
    assert engine.n_slots == 2
    assert [each for each in listener.notices if "the largest configuration does not fit beside another" in each]


def test_the_middle_stands_for_all_where_no_size_is_searched(state: StateDirectory) -> None:
    engine = Inspected(n_slots=1, memory=measured(free=8 * GIB, trial=3 * GIB), largest={})
    run(state, engine, definition(**AUTO))
    assert len(engine.asked) == 1
    assert engine.n_slots == 2


@pytest.mark.slow
def test_the_memory_of_a_training_on_the_cpu_is_measured() -> None:
    small = inspect_assembly(Inspect(assembly=assembly(Net, model_args={"hidden": 8}), searched=()))
    large = inspect_assembly(Inspect(assembly=assembly(Net, model_args={"hidden": 2_000_000}), searched=()))
    assert large.error == ""
    assert large.free_bytes > large.trial_bytes
    assert large.n_cores >= 1
    assert large.worker_bytes > 100 << 20  # torch alone
    # Seven floats a hidden unit, as weights, gradients and momenta.
    assert large.trial_bytes - small.trial_bytes > 3 * 7 * 4 * 2_000_000 * 0.8


def test_each_rank_measures_the_gpu_that_it_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    free_gib, peak_gib, reserved_gib = {0: 80, 1: 60}, {0: 9, 1: 5}, {0: 8, 1: 4}
    for name, answer in {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda gpu: peak_gib.update({gpu: 0}),
        "mem_get_info": lambda gpu: (free_gib[gpu] * GIB, 80 * GIB),
        "memory_reserved": lambda gpu: reserved_gib[gpu] * GIB,
        "max_memory_reserved": lambda gpu: peak_gib[gpu] * GIB,
    }.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setenv("LOCAL_RANK", "1")
    meter = MemoryMeter()
    meter.begin()
    assert peak_gib == {0: 9, 1: 0}  # a GPU of others is not touched
    free_gib[1], peak_gib[1] = 54, 5
    meter.end()
    assert (meter.free_bytes, meter.trial_bytes) == (60 * GIB, (5 + 2) * GIB)  # 2 beside torch's own

"""A worker that is lost over an inspection or over the reading of the test split costs that, and not the study."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faulty_net import StuckTestData
from small_training import Net, assembly
from study_runs import Listener
from test_coordinator import PLAIN, definition, fingerprint, run
from virtual_engine import Faults, VirtualEngine

from lightning_modules.callbacks.checkpoint_files import WEIGHTS_NAME
from lightning_modules.callbacks.epoch_checkpoint import save_weights
from search.coordinator.interruption import Interruption
from search.coordinator.request import Request
from search.coordinator.workforce import Workforce
from search.engines.devices import DeviceSlot
from search.engines.local import LocalEngine
from search.errors import StudyFailedError, StudyInterruptedError
from search.messages import Inspect, TestAssignment, TestResult, ToWorker
from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_definition import StudyDefinition
from search.study_record import StudyRecord, StudyState

pytestmark = pytest.mark.usefixtures("untracked")

OVER_INSPECTION = "killed by SIGSEGV, while the model was tried out; "
OVER_READING = "killed by SIGSEGV, while the test split was read; "


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(root=tmp_path / "mlruns")


def small(**changes: Any) -> StudyDefinition:
    stages = [{"name": "only", "n_trials": 3, "max_epochs": 1, "sampler": "qmc"}]
    return definition(stages=stages, pruner="none", finish={"top_k": 1, "n_seeds": 1, "ensemble": False}, **changes)


def undisturbed(tmp_path: Path) -> list[object]:
    return comparable(run(StateDirectory(root=tmp_path / "undisturbed"), VirtualEngine(), small()))


def comparable(record: StudyRecord) -> list[object]:
    """All that the loss of workers may not change."""
    assert record.result is not None
    once = replace(record.result, n_test_readings=1)
    return fingerprint(replace(record, result=once))


@pytest.mark.parametrize("n_slots", [1, 2])
def test_both_are_repeated_and_the_study_ends_as_if_nothing_had_happened(
    n_slots: int, state: StateDirectory, tmp_path: Path
) -> None:
    listener = Listener()
    engine = VirtualEngine(n_slots=n_slots, faults=Faults(dies_of={Inspect: 2, TestAssignment: 2}))
    record = run(state, engine, small(), observer=listener)
    assert record.result is not None
    assert record.result.n_test_readings == 3
    assert comparable(record) == undisturbed(tmp_path)
    for over in (OVER_INSPECTION, OVER_READING):
        told = [each for each in listener.notices if each.startswith(over)]
        printed = "What it printed:\nin forward"
        assert told == [f"{over}it is repeated (attempt {n} of 3). {printed}" for n in (2, 3)]


def test_a_model_that_takes_every_worker_is_shown_and_nothing_is_created(state: StateDirectory) -> None:
    engine, listener = VirtualEngine(faults=Faults(dies_of={Inspect: 3})), Listener()
    with pytest.raises(StudyFailedError, match=re.escape(OVER_INSPECTION)) as caught:
        run(state, engine, small(), observer=listener)
    assert str(caught.value).splitlines() == [
        f"{OVER_INSPECTION}given up after 3 attempts. What it printed:",
        "in forward",
        "Nothing has been changed; once that is mended, start the study again.",
    ]
    assert len(listener.notices) == 2
    assert not state.root.exists()
    assert engine.closed


def test_a_test_split_that_takes_every_worker_stops_the_study_which_can_be_resumed(
    state: StateDirectory, tmp_path: Path
) -> None:
    checkpoints: dict[str, int] = {}
    with pytest.raises(StudyFailedError, match=re.escape(OVER_READING)) as caught:
        run(state, VirtualEngine(checkpoints=checkpoints, faults=Faults(dies_of={TestAssignment: 3})), small())
    assert str(caught.value).endswith("in forward\nAll that was trained is saved. Go on with: zeroin resume bell")
    assert read_study("bell", directory=state).state is StudyState.UNFINISHED
    engine = VirtualEngine(checkpoints=checkpoints)
    record = run(state, engine, small())
    assert engine.trained == []
    assert record.result is not None
    assert record.result.n_test_readings == 4
    assert comparable(record) == undisturbed(tmp_path)


def test_ctrl_c_during_a_reading_whose_worker_is_lost_stops_the_study(state: StateDirectory) -> None:
    class Pressed(VirtualEngine):
        def send(self, worker: int, message: ToWorker) -> None:
            if isinstance(message, TestAssignment):
                os.kill(os.getpid(), signal.SIGINT)
            super().send(worker, message)

    checkpoints: dict[str, int] = {}
    with pytest.raises(StudyInterruptedError, match=r"everything is saved\. Go on with: zeroin resume bell"):
        run(state, Pressed(n_slots=2, checkpoints=checkpoints, faults=Faults(dies_of={TestAssignment: 1})), small())
    record = run(state, VirtualEngine(checkpoints=checkpoints), small())
    assert record.result is not None
    assert record.result.n_test_readings == 2


class Heard(VirtualEngine):
    """Keeps the requests; the probe of the largest configuration takes its worker `n_deaths` times."""

    def __init__(self, *, n_deaths: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.requests: list[Inspect | TestAssignment] = []
        self._n_deaths = n_deaths

    def send(self, worker: int, message: ToWorker) -> None:
        if isinstance(message, Inspect | TestAssignment):
            self.requests.append(message)
        if isinstance(message, Inspect) and message.assembly.model_args.get("width") == 512 and self._n_deaths:
            self._n_deaths -= 1
            self._lose(worker, "killed by SIGKILL")
            return
        super().send(worker, message)


@pytest.fixture
def packed() -> StudyDefinition:
    return small(
        space={**PLAIN["space"], "model.width": {"int_log": [8, 512]}}, resources={"trials_per_device": "auto"}
    )


def test_the_probe_of_the_memory_is_repeated(state: StateDirectory, packed: StudyDefinition) -> None:
    listener = Listener()
    memory = {"free_bytes": 8 << 30, "trial_bytes": 3 << 30, "n_cores": 64}
    engine = Heard(n_deaths=2, memory=memory)
    assert run(state, engine, packed, observer=listener).state is StudyState.FINISHED
    assert [isinstance(each, Inspect) for each in engine.requests] == [True] * 4 + [False]
    over = "killed by SIGKILL, while the largest configuration was tried out; it is repeated (attempt {} of 3)."
    assert [each for each in listener.notices if "largest configuration was" in each] == [
        over.format(2),
        over.format(3),
    ]
    assert any(each.startswith("2 trials on each device") for each in listener.notices)


def test_all_of_them_are_watched_for_hangs(state: StateDirectory, packed: StudyDefinition) -> None:
    engine = Heard()
    study = replace(packed, resources=replace(packed.resources, hang_timeout_minutes=7.0))
    run(state, engine, study)
    assert [each.hang_timeout_seconds for each in engine.requests] == [420.0] * 3


@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
def test_a_test_loader_that_deadlocks_is_noticed_and_the_split_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).resolve().parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(root), str(root / "tests"))))
    save_weights(tmp_path / WEIGHTS_NAME, Net().state_dict())
    order = TestAssignment(
        assembly=assembly(Net, StuckTestData, data_args={"made": str(tmp_path / "made")}),
        trial_keys=("refit-seed0",),
        directories=(str(tmp_path),),
        ensemble=True,
        hang_timeout_seconds=2.0,
    )
    notices: list[str] = []
    engine = LocalEngine([DeviceSlot(label=str(slot), environment={"CUDA_VISIBLE_DEVICES": ""}) for slot in range(2)])
    try:
        result = Workforce(engine, interruption=Interruption()).ask(
            Request(
                message=order,
                reply=TestResult,
                doing="the test split was read",
                remedy="",
                notify=notices.append,
                interruptible=False,
            )
        )
    finally:
        engine.close(timeout_seconds=0.0)
    assert result is not None
    assert (result.error, result.n_samples) == ("", 50)
    notice = notices[0]  # on a machine that is busy with other things the second reading may be late as well
    assert notice.startswith("hung, no batch was finished for 0.0 min (resources.hang_timeout_minutes); ")
    assert "SIGKILL), while the test split was read; it is repeated (attempt 2 of 3). What it printed:" in notice
    assert "in _try_get_data" in notice

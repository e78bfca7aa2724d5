"""Whatever happens to a study in whatever order, its trials are counted once and its time is accounted for."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from no_tracker import NoTracker
from study_runs import run_session
from virtual_engine import Faults, KilledError, VirtualEngine

from search.coordinator.timesheet import Timesheet
from search.engines.engine import EngineEvent, WorkerLost
from search.errors import StudyInterruptedError, StudyNotFoundError
from search.messages import Cause, Inspect, TestAssignment, ToWorker, TrialAssignment
from search.observer import SilentObserver
from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_file import definition_from_plain
from search.study_record import StageOpening, StudyRecord, StudyResult, StudyState
from search.trial import Score, TrialRecord, TrialState

MOST_SESSIONS = 30


class RandomEngine(VirtualEngine):
    """Workers answer in any order, several at once, and some are killed; a group dies of what one rank raises.

    Attributes:
        n_tests: Readings of the test split that were asked for.
    """

    def __init__(
        self, *, chance: random.Random, n_deaths: int, are_groups: bool, stops: tuple[str, int], **options: Any
    ) -> None:
        super().__init__(**options)
        self.n_tests = 0
        self._chance = chance
        self._n_deaths = n_deaths
        self._are_groups = are_groups
        self._stop, self._stop_after = stops
        self._n_silent = 0
        self._out_of_memory: set[str] = set()

    def send(self, worker: int, message: ToWorker) -> None:
        self.n_tests += isinstance(message, TestAssignment)
        if isinstance(message, TrialAssignment):
            assert worker not in self._trainings
            assert message.trial_key not in {each.assignment.trial_key for each in self._trainings.values()}
        super().send(worker, message)
        for other, training in self._trainings.items():
            key = training.assignment.trial_key
            assert key not in self._out_of_memory or not self._neighbours(other), f"{key} is not alone"

    def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
        self._stop_after -= 1
        if self._stop_after == 0:
            if self._stop == "kill":
                raise KilledError
            os.kill(os.getpid(), signal.SIGINT)
        if self._n_deaths and self._trainings and self._chance.random() < 0.05:
            self._n_deaths -= 1
            self.kill_worker(self._chance.choice(sorted(self._living)))
        self._n_silent = 0 if self._events else self._n_silent + 1
        assert self._n_silent < 10, "nothing happens any more"
        events: list[EngineEvent] = []
        for _ in range(self._chance.choice([1, 1, 2, 99])):
            worker = self._chance.choice([each.worker for each in self._events] or [-1])
            own = [each for each in self._events if each.worker == worker]
            # The answer of a group that raised comes together with its loss.
            together = own if self._are_groups and own and isinstance(own[-1], WorkerLost) else own[:1]
            for event in together:
                self._events.remove(event)
                events.append(event)
        return self._timed(events)

    def _end(self, worker: int, *, error: str = "", cause: Cause = Cause.USER_CODE, **how: Any) -> None:
        if cause is Cause.OUT_OF_MEMORY:
            self._out_of_memory.add(self._trainings[worker].assignment.trial_key)
        super()._end(worker, error=error, cause=cause, **how)
        if error and self._are_groups:
            self._lose(worker, "ended, since one of its ranks raised")


class StrictTimesheet(Timesheet):
    """Never counts fewer than no workers in a state."""

    def change(self, *, starting: int = 0, training: int = 0, idle: int = 0) -> None:
        super().change(starting=starting, training=training, idle=idle)
        assert min(self.n_starting, self.n_training, self.n_idle) >= 0


class Ear(SilentObserver):
    """Counts what may happen only once."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self.openings: dict[str, StageOpening] = {}

    def stage_opened(self, opening: StageOpening) -> None:
        assert self.openings.setdefault(opening.name, opening) == opening

    def trial_finished(self, record: TrialRecord, score: Score | None) -> None:
        self.ends[record.key] += record.state.is_finished

    def study_finished(self, record: StudyRecord, result: StudyResult) -> None:
        self.ends["study"] += 1


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    sizes = draw(st.lists(st.sampled_from([1, 3, 8, 13, 17]), min_size=1, max_size=3))
    stages = [
        {
            "name": f"stage{index}",
            "n_trials": size,
            "max_epochs": index + 1,
            "sampler": "random",
            "promote": draw(st.integers(0, min(3, size))) if index else 0,
        }
        for index, size in enumerate(sizes)
    ]
    budgets = [{}, {}, {"n_trials": draw(st.integers(1, 30))}]
    budgets += [{name: draw(st.floats(0.05, 1.0))} for name in ("hours", "device_hours")]
    return {
        "study": "bell",
        "seed": draw(st.integers(0, 99)),
        "model": {"class_path": "package.Net"},
        "objective": {"monitor": "val_acc", "direction": "maximize"},
        "space": {"model.learning_rate": {"log": [1.0e-6, 1.0]}},
        "stages": stages,
        "pruner": draw(
            st.sampled_from(
                [
                    *("none", "asha", "hyperband", "wilcoxon"),
                    {"name": "median", "n_startup_trials": 3, "n_warmup_epochs": 0},
                ]
            )
        ),
        "early_stopping": "none",
        "finish": {"top_k": draw(st.integers(1, 3)), "n_seeds": draw(st.integers(1, 3)), "ensemble": True},
        "budget": draw(st.sampled_from(budgets)) or "none",
    }


def faults_of(chance: random.Random) -> Faults:
    keys = [f"trial-{number:04d}" for number in range(2, 30)]
    runs = [*keys, *(f"confirm-{number:04d}-seed{seed}" for number in range(30) for seed in range(3)), "refit-seed0"]
    unlucky = chance.sample(runs, 24)
    return Faults(
        raises=set(chance.sample(keys, 1)),
        diverges=set(chance.sample(keys, 2)),
        loses_worker=dict.fromkeys(unlucky[:12], 1) | {chance.choice(keys): 3},
        runs_out_of_memory=dict.fromkeys(unlucky[12:], 1) | {chance.choice(keys): 2},
        dies_of={Inspect: chance.randint(0, 2), TestAssignment: chance.randint(0, 2)},
    )


def run(state: StateDirectory, engine: RandomEngine, plain: dict[str, Any], ear: Ear) -> StudyRecord:
    return run_session(state, engine, definition_from_plain(plain), observer=ear, clock=lambda: engine.seconds)


def check_promotions(record: StudyRecord) -> None:
    by_key = {each.record.key: each.record for each in record.trials}
    promoted = [each.record for each in record.trials if each.record.continues]
    assert len({each.continues for each in promoted}) == len(promoted)
    most = {stage.name: stage.promote for stage in record.definition.stages}
    assert all(n <= most[name] for name, n in Counter(each.stage for each in promoted).items())
    for later in promoted:
        earlier = by_key[later.continues]
        assert earlier.state is TrialState.COMPLETE
        assert (later.hyperparameters, later.seed) == (earlier.hyperparameters, earlier.seed)
        assert later.n_taken_over in (0, len(earlier.epochs))  # a worker may die before its first checkpoint
        assert len(earlier.epochs) < later.n_epochs
        assert later.epochs[: later.n_taken_over] == earlier.epochs[: later.n_taken_over]
    assert record.result is not None
    winners = {each.trial_number for each in record.result.confirmations}
    assert not winners & {by_key[each.continues].number for each in promoted if each.supersedes(by_key[each.continues])}


@pytest.fixture(autouse=True, scope="module")
def patched_session() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.coordinator.session.MlflowTracker", NoTracker)
        patch.setattr("search.coordinator.session.Timesheet", StrictTimesheet)
        yield


@pytest.mark.slow
@settings(max_examples=25)
@given(plain=studies(), seed=st.integers(0, 10**6))
def test_every_trial_is_run_once_and_every_second_is_counted(plain: dict[str, Any], seed: int) -> None:
    chance = random.Random(seed)
    checkpoints: dict[str, int] = {}
    faults, ear, record = faults_of(chance), Ear(), None
    n_tests, wall_seconds, slot_seconds = 0, 0.0, 0.0
    with TemporaryDirectory() as root:
        state = StateDirectory(root=Path(root))
        for session in range(MOST_SESSIONS):
            n_devices = chance.choice([1, 2, 5])
            engine = RandomEngine(
                chance=chance,
                n_deaths=chance.choice([0, 2]),
                are_groups=chance.random() < 0.5,
                stops=(chance.choice(["kill", "interrupt"]), chance.randint(1, 90) if session < 5 else 0),
                n_slots=n_devices * chance.choice([1, 2]),
                n_devices=n_devices,
                checkpoints=checkpoints,
                faults=faults,
            )
            with suppress(KilledError, StudyInterruptedError):
                record = run(state, engine, plain, ear)
            n_tests += engine.n_tests
            try:
                now = read_study("bell", directory=state)
            except StudyNotFoundError:  # stopped before it began
                continue
            wall_seconds += engine.seconds
            slot_seconds += engine.n_slots * engine.seconds
            assert now.spent.wall_seconds == pytest.approx(wall_seconds)
            assert sum(now.device_use.values()) == pytest.approx(slot_seconds)
            assert 0.0 <= now.device_use["training"] <= now.spent.worker_seconds + 1e-6
            if record is not None:
                break
    assert record is not None and record.result is not None
    assert record.state is StudyState.FINISHED
    assert set(ear.ends.values()) <= {0, 1} and ear.ends["study"] == 1
    assert record.result.n_test_readings == n_tests >= 1
    assert all(each.record.state.is_finished for each in record.trials)
    check_promotions(record)
    counts = Counter(each.record.stage for each in record.trials)
    planned = {stage.name: stage.n_trials for stage in record.definition.stages}
    assert all(counts[name] <= planned[name] for name in counts)
    budget = record.definition.budget
    if budget.hours is None and budget.device_hours is None:
        assert counts.total() == min(record.definition.n_trials, budget.n_trials or record.definition.n_trials)
        assert TrialState.STOPPED not in {each.record.state for each in record.trials}

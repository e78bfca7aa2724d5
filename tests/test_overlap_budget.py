"""Stages that overlap, and confirmations that begin early, under budgets, edits and lost workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from study_runs import run_session
from test_stage_overlap import FINISH, PLAIN, Diary, UnevenEngine
from virtual_engine import Faults, KilledError, VirtualEngine

from search.coordinator.interruption import Interruption
from search.coordinator.preflight import inspect_study
from search.coordinator.timesheet import Timesheet
from search.coordinator.workforce import Workforce
from search.errors import StateError, StudyConflictError, StudyFailedError
from search.messages import Inspect
from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_file import definition_from_plain
from search.study_record import StudyRecord, StudyState
from search.trial import CONFIRM, TrialState

pytestmark = pytest.mark.usefixtures("untracked")

TWO_STAGES = {**PLAIN, "finish": {"top_k": 2, "n_seeds": 2, "ensemble": True}}
ONE_STAGE = PLAIN | FINISH


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(root=tmp_path / "mlruns")


def run(state: StateDirectory, engine: UnevenEngine, plain: dict[str, Any], diary: Diary) -> StudyRecord:
    return run_session(state, engine, definition_from_plain(plain), observer=diary, clock=lambda: engine.seconds)


def n_by_stage(record: StudyRecord) -> tuple[int, int]:
    stages = [each.record.stage for each in record.trials]
    return stages.count("coarse"), stages.count("fine")


@pytest.mark.parametrize("budget", [{"hours": 3.0}, {"device_hours": 9.0}, {"hours": 0.3}, {"device_hours": 1.1}])
def test_under_a_budget_of_time_stages_overlap_and_the_finish_waits_for_the_search(
    state: StateDirectory, budget: dict[str, float]
) -> None:
    diary = Diary()
    engine = UnevenEngine(n_slots=4, slow=["trial-0003", "trial-0018"])
    record = run(state, engine, {**TWO_STAGES, "budget": budget}, diary)
    result = record.result
    assert record.state is StudyState.FINISHED and result is not None
    assert result.seconds <= budget.get("hours", 99.0) * 3600.0
    assert result.device_seconds <= budget.get("device_hours", 99.0) * 3600.0
    is_enough = (budget.get("hours"), budget.get("device_hours")) in ((3.0, None), (None, 9.0))
    assert (n_by_stage(record) == (16, 6)) is is_enough
    if is_enough:
        assert "trial-0003" not in diary.before("open fine", kind="end")
    finish = next(each for each in diary.entries if each.startswith((f"start {CONFIRM}", "start refit")))
    assert set(diary.before(finish, kind="end")) == {each.record.key for each in record.trials}
    assert result.refit_keys


def test_a_budget_of_trials_is_shared_out_alike_where_stages_overlap(state: StateDirectory) -> None:
    diary = Diary()
    engine = UnevenEngine(n_slots=4, slow=["trial-0003", "trial-0020"])
    record = run(state, engine, {**TWO_STAGES, "budget": {"n_trials": 21}}, diary)
    assert n_by_stage(record) == (15, 6)
    early = diary.before("end trial-0020", kind="start")
    assert any(key.startswith(CONFIRM) for key in early)  # a count of trials bounds no time


def kill_in_an_early_confirmation(state: StateDirectory, checkpoints: dict[str, int]) -> str:
    """Return the trial that still runs."""
    slow = "trial-0012"
    told = Diary()
    other = StateDirectory(root=state.root.parent / "told")
    run(other, UnevenEngine(n_slots=6, slow=[slow]), ONE_STAGE, told)
    early = next(key for key in told.before(f"end {slow}", kind="end") if key.startswith(CONFIRM))
    with pytest.raises(KilledError):
        run(
            state,
            UnevenEngine(n_slots=6, slow=[slow], checkpoints=checkpoints),
            ONE_STAGE,
            Diary(dies_at=f"end {early}"),
        )
    return slow


def test_once_confirmations_have_begun_the_search_gets_no_more_trials_but_ends_those_under_way(
    state: StateDirectory,
) -> None:
    checkpoints: dict[str, int] = {}
    slow = kill_in_an_early_confirmation(state, checkpoints)
    record = read_study("bell", directory=state)
    assert record.finish_has_begun
    assert next(each for each in record.trials if each.record.key == slow).record.state is not TrialState.COMPLETE
    (stage,) = ONE_STAGE["stages"]
    for edited in ({"stages": [{**stage, "n_trials": 20}]}, {"budget": {"hours": 9.0}}):
        with pytest.raises(StudyConflictError, match="the search is over: the finish has begun"):
            run(state, UnevenEngine(checkpoints=checkpoints), ONE_STAGE | edited, Diary())
    record = run(state, UnevenEngine(n_slots=6, checkpoints=checkpoints), ONE_STAGE, Diary())
    assert record.state is StudyState.FINISHED
    assert {each.record.state for each in record.trials} == {TrialState.COMPLETE}
    assert len(record.trials) == 16


def test_a_trial_out_of_memory_has_its_device_for_itself_while_stages_overlap(state: StateDirectory) -> None:
    engine = UnevenEngine(
        n_slots=4, n_devices=2, slow=["trial-0003"], faults=Faults(runs_out_of_memory={"trial-0008": 1})
    )
    diary = Diary()
    record = run(state, engine, TWO_STAGES, diary)
    assert {each.record.state for each in record.trials} == {TrialState.COMPLETE}
    assert diary.entries.count("start trial-0008") == 2
    assert engine.company["trial-0008", 2] == set()
    assert len(engine.retired) == 1
    assert record.result is not None
    assert sum(record.result.device_use.values()) == pytest.approx(4 * engine.seconds, rel=0.01)
    use = record.result.device_use
    assert use["training"] <= record.spent.worker_seconds <= use["training"] + use["between_trials"]


def test_the_few_of_many_workers_that_raise_at_once_stop_nothing(state: StateDirectory) -> None:
    raising = {f"trial-{number:04d}" for number in (1, 3, 4, 7, 9, 11)}
    engine = UnevenEngine(n_slots=12, faults=Faults(raises=raising))
    diary = Diary()
    record = run(state, engine, ONE_STAGE, diary)
    assert set(diary.before("end trial-0000", kind="end")) == raising
    assert {each.record.key for each in record.trials if each.record.state is TrialState.FAILED} == raising
    with pytest.raises(StudyFailedError, match="all 3 trials so far have failed"):
        every = {f"trial-{number:04d}" for number in range(16)}
        other = StateDirectory(root=state.root.parent / "other")
        run(other, UnevenEngine(n_slots=12, faults=Faults(raises=every)), ONE_STAGE, Diary())


def test_an_engine_is_closed_where_the_state_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    engine = UnevenEngine()
    with pytest.raises(StateError, match="file"):
        run(StateDirectory(root=tmp_path / "file" / "mlruns"), engine, ONE_STAGE, Diary())
    assert engine.closed


def test_every_worker_is_counted_once_whatever_happens_to_it() -> None:
    sheet = Timesheet(clock=lambda: 0.0)

    def counts() -> tuple[int, int, int]:
        return sheet.n_starting, sheet.n_idle, sheet.n_training

    engine = VirtualEngine(n_slots=3)
    workforce = Workforce(engine, interruption=Interruption(), timesheet=sheet)
    assert counts() == (3, 0, 0)
    for _ in range(3):
        workforce.poll(timeout_seconds=0.0)
    assert counts() == (0, 3, 0)
    released, retired = workforce.take_idle(), workforce.take_idle()
    assert counts() == (0, 1, 2)
    workforce.release(released)
    workforce.retire(retired)
    assert counts() == (1, 2, 0)
    for expected in ((1, 2, 0), (0, 3, 0)):  # lost, as it was told; another one is ready
        workforce.poll(timeout_seconds=0.0)
        assert counts() == expected
    busy = workforce.take_idle()
    engine._lose(busy, "killed by SIGKILL")
    workforce.poll(timeout_seconds=0.0)
    assert counts() == (1, 2, 0)
    idle = workforce.take_idle()
    workforce.release(idle)
    engine._lose(idle, "killed by SIGKILL")
    for _ in range(2):
        workforce.poll(timeout_seconds=0.0)
    assert counts() == (1, 2, 0)
    workforce.poll(timeout_seconds=0.0)
    assert counts() == (0, 3, 0)


def test_a_worker_lost_while_it_answers_a_request_was_idle() -> None:
    class Deaf(VirtualEngine):
        def send(self, worker: int, message: object) -> None:
            assert isinstance(message, Inspect)
            self._lose(worker, "killed by SIGKILL")

    sheet = Timesheet(clock=lambda: 0.0)
    workforce = Workforce(Deaf(), interruption=Interruption(), timesheet=sheet)
    study = definition_from_plain(ONE_STAGE)
    with pytest.raises(StudyFailedError, match="while the model was tried out"):
        inspect_study(study, workforce, notify=lambda notice: None)
    assert (sheet.n_starting, sheet.n_idle, sheet.n_training) == (1, 0, 0)

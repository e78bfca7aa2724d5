"""Devices that do not wait: stages and confirmations begin while the last trials before them still run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plain_study import BELL
from study_runs import run_session
from virtual_engine import KilledError, VirtualEngine

from search.comparable_rewards import comparable_observations
from search.coordinator.stage_border import may_go_on
from search.device_use import DeviceUse
from search.engines.engine import EngineEvent, MessageReceived
from search.epoch_log import read_epoch_log
from search.messages import EpochReport, TrialEnded
from search.narrowing import narrow
from search.observer import SilentObserver
from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain
from search.study_record import RangeChange, StageOpening, StudyRecord, StudyState
from search.trial import CONFIRM, FinishedTrial, Score, TrialRecord, TrialState

PLAIN: dict[str, Any] = {
    **BELL,
    "stages": [
        {"name": "coarse", "n_trials": 16, "max_epochs": 2, "sampler": "qmc"},
        {"name": "fine", "n_trials": 6, "max_epochs": 4, "sampler": "random"},
    ],
    "pruner": "none",
    "early_stopping": "none",
    "finish": "none",
}
ONE_STAGE = {"stages": [{"name": "only", "n_trials": 16, "max_epochs": 3, "sampler": "qmc"}]}


class UnevenEngine(VirtualEngine):
    """Trials whose keys are in `slow` move on only when nothing else does."""

    def __init__(self, *, slow: Iterable[str] = (), **options: Any) -> None:
        super().__init__(**options)
        self._slow = set(slow)

    def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
        for _ in range(len(self._events) - 1):
            if not self._is_slow(self._events[0]):
                break
            self._events.rotate(-1)
        return super().poll(timeout_seconds=timeout_seconds)

    def _is_slow(self, event: EngineEvent) -> bool:
        if not isinstance(event, MessageReceived) or not isinstance(event.message, EpochReport | TrialEnded):
            return False
        return event.message.trial_key in self._slow


class Diary(SilentObserver):
    """Notes what happens in which order, and may die at one of the entries."""

    def __init__(self, *, dies_at: str = "") -> None:
        self.entries: list[str] = []
        self.openings: list[StageOpening] = []
        self._dies_at = dies_at

    def stage_opened(self, opening: StageOpening) -> None:
        self.openings.append(opening)
        self._note(f"open {opening.name}")

    def trial_started(self, record: TrialRecord) -> None:
        self._note(f"start {record.key}")

    def trial_finished(self, record: TrialRecord, score: Score | None) -> None:
        self._note(f"end {record.key}")

    def before(self, entry: str, *, kind: str) -> list[str]:
        """Return what began or ended before an entry."""
        earlier = self.entries[: self.entries.index(entry)]
        return [each.split()[1] for each in earlier if each.startswith(kind)]

    def _note(self, entry: str) -> None:
        self.entries.append(entry)
        if entry == self._dies_at:
            raise KilledError


Run = Callable[..., StudyRecord]


@pytest.fixture
def run(tmp_path: Path, untracked: None) -> Run:
    """Run a study; MLflow, which has no part in any of this, is left out."""

    def run_study(
        engine: VirtualEngine, *, observer: SilentObserver | None = None, home: str = "home", **changes: Any
    ) -> StudyRecord:
        state = StateDirectory(root=tmp_path / home)
        study: StudyDefinition = definition_from_plain(PLAIN | changes)
        return run_session(state, engine, study, observer=observer)

    return run_study


def test_a_stage_opens_on_what_has_finished_and_its_opening_stands(run: Run) -> None:
    diary = Diary()
    record = run(UnevenEngine(n_slots=4, slow=["trial-0003", "trial-0008"]), observer=diary)
    waited_for = diary.before("open fine", kind="end")
    assert sorted({trial.record.key for trial in record.trials[:16]} - set(waited_for)) == ["trial-0003", "trial-0008"]
    finished = [FinishedTrial(record=each.record, score=each.score) for each in record.trials[:16]]
    expected = narrow(
        comparable_observations(
            [each for each in finished if each.record.key in waited_for], objective=record.definition.objective
        ),
        record.openings[0].narrowed.space,
        direction=record.definition.objective.direction,
        rule=record.definition.stages[1].narrow,
    )
    assert record.openings[1].narrowed == diary.openings[1].narrowed == expected
    assert [trial.record.stage for trial in record.trials] == ["coarse"] * 16 + ["fine"] * 6
    assert all(trial.record.state is TrialState.COMPLETE for trial in record.trials)


def test_for_ranges_that_will_stay_as_they_are_nobody_waits(run: Run) -> None:
    diary = Diary()
    coarse, fine = PLAIN["stages"]
    record = run(UnevenEngine(n_slots=4, slow=["trial-0003"]), observer=diary, stages=[{**coarse, "n_trials": 8}, fine])
    assert "trial-0003" not in diary.before("open fine", kind="end")
    assert {each.change for each in record.openings[1].narrowed.decisions} == {RangeChange.KEPT}


def test_nobody_waits_for_more_trials_in_narrow_ranges_before_a_rule_that_goes_by_all_of_them(run: Run) -> None:
    coarse, fine = PLAIN["stages"]

    def stages(n_trials: int, rule: str) -> list[dict[str, Any]]:
        medium = {**fine, "name": "medium", "n_trials": n_trials, "narrow": "quantile_box"}
        return [coarse, medium, {**fine, "narrow": rule}]

    first = run(VirtualEngine(), home="first", stages=stages(4, "none"))
    box = first.openings[1].narrowed.space
    n_inside = sum(box.contains(trial.record.hyperparameters) for trial in first.trials[:16])
    n_trials = 12 - n_inside  # with the last of them there would be as many as rules need
    assert n_trials >= 4
    slow = f"trial-{16 + n_trials - 1:04d}"
    for rule, is_waited_for in (("posterior", False), ("quantile_box", True)):
        diary = Diary()
        run(UnevenEngine(n_slots=4, slow=[slow]), observer=diary, home=rule, stages=stages(n_trials, rule))
        assert (slow in diary.before("open fine", kind="end")) is is_waited_for


def test_with_one_worker_a_stage_is_over_before_the_next_one_begins(run: Run) -> None:
    diary = Diary()
    run(UnevenEngine(slow=["trial-0003"]), observer=diary)
    assert len(diary.before("open fine", kind="end")) == 16


@pytest.mark.parametrize(
    ("n_finished", "n_unfinished", "n_inside", "expected"),
    [
        (12, 4, 12, True),
        (11, 5, 11, False),  # under three quarters
        (11, 1, 11, False),  # too few for narrowing
        (48, 16, 12, True),
        (47, 17, 47, False),
        (5, 0, 5, True),  # nobody to wait for
        (6, 2, 6, True),  # too few for narrowing even with those
        (5, 3, 5, False),
    ],
)
def test_enough_is_three_quarters_and_what_narrowing_needs(
    n_finished: int, n_unfinished: int, n_inside: int, *, expected: bool
) -> None:
    assert may_go_on(n_finished=n_finished, n_unfinished=n_unfinished, n_inside=n_inside, n_needed=12) is expected


def test_a_study_killed_in_an_overlap_goes_on_with_the_trials_of_both_stages(run: Run, tmp_path: Path) -> None:
    checkpoints: dict[str, int] = {}
    slow = ["trial-0003", "trial-0008"]
    first = UnevenEngine(n_slots=4, slow=slow, checkpoints=checkpoints)
    killed = Diary(dies_at="start trial-0018")
    with pytest.raises(KilledError):
        run(first, observer=killed)
    opening = read_study("bell", directory=StateDirectory(root=tmp_path / "home")).openings[1]
    resumed = Diary()
    second = UnevenEngine(n_slots=4, slow=slow, checkpoints=checkpoints)
    record = run(second, observer=resumed)
    assert resumed.entries[:4] == ["open coarse", "open fine", "start trial-0003", "start trial-0008"]
    assert record.openings[1] == opening
    assert record.state is StudyState.FINISHED
    assert len(record.trials) == 22
    assert all(trial.record.state is TrialState.COMPLETE for trial in record.trials)
    # The report of an epoch that the dead coordinator had not read is given again.
    again = [epoch for epoch, count in Counter(first.trained + second.trained).items() if count > 1]
    assert len(again) <= 4


def _decided(record: StudyRecord) -> list[object]:
    assert record.result is not None
    result = record.result
    trials = [(trial.record.key, dict(trial.record.hyperparameters), trial.score) for trial in record.trials]
    return [trials, replace(result, seconds=0.0, time_ms=0, device_seconds=0.0, device_use={}, n_epochs={})]


FINISH = {"finish": {"top_k": 3, "n_seeds": 3, "ensemble": True}, **ONE_STAGE}


@pytest.mark.slow
@pytest.mark.parametrize("n_slots", [2, 6, 20])
def test_what_ran_early_does_not_change_what_is_confirmed(run: Run, n_slots: int) -> None:
    alone = run(VirtualEngine(), home="alone", **FINISH)
    assert alone.result is not None
    best = f"trial-{alone.result.best_trial_number:04d}"
    diary = Diary()
    record = run(UnevenEngine(n_slots=n_slots, slow=[best]), home="many", observer=diary, **FINISH)
    assert _decided(record) == _decided(alone)
    assert any(key.startswith(CONFIRM) for key in diary.before(f"end {best}", kind="start"))


@pytest.mark.slow
def test_confirmations_that_are_needless_after_all_are_stopped(run: Run, tmp_path: Path) -> None:
    alone = run(VirtualEngine(), home="alone", **FINISH)
    assert alone.result is not None
    numbers = [each.trial_number for each in alone.result.confirmations]
    slow = [f"trial-{numbers[0]:04d}", *(f"confirm-{n:04d}-seed{i}" for n in range(16) for i in range(3))]
    diary = Diary()
    record = run(UnevenEngine(n_slots=12, slow=slow), home="many", observer=diary, **FINISH)
    begun = {each.split()[1] for each in diary.entries if each.startswith(f"start {CONFIRM}")}
    displaced = {key for key in begun if int(key.split("-")[1]) not in numbers}
    assert displaced
    study = StateDirectory(root=tmp_path / "many").study("bell")
    logs = [read_epoch_log(study.trial(key).epoch_log) for key in sorted(displaced)]
    assert {log.state for log in logs if log is not None} <= {TrialState.PRUNED, TrialState.COMPLETE}
    assert any("not among the best 3 any more" in log.reason for log in logs if log is not None)
    assert record.result is not None
    assert record.result.confirmations == alone.result.confirmations


@pytest.mark.slow
def test_a_study_killed_while_it_confirms_early_ends_alike(run: Run) -> None:
    alone = run(VirtualEngine(), home="alone", **FINISH)
    assert alone.result is not None
    best = f"trial-{alone.result.best_trial_number:04d}"
    checkpoints: dict[str, int] = {}
    diary = Diary()
    run(UnevenEngine(n_slots=6, slow=[best]), home="told", observer=diary, **FINISH)
    early = next(key for key in diary.before(f"end {best}", kind="end") if key.startswith(CONFIRM))
    with pytest.raises(KilledError):
        run(
            UnevenEngine(n_slots=6, slow=[best], checkpoints=checkpoints),
            observer=Diary(dies_at=f"end {early}"),
            **FINISH,
        )
    record = run(UnevenEngine(n_slots=6, slow=[best], checkpoints=checkpoints), **FINISH)
    assert _decided(record) == _decided(alone)


@pytest.mark.slow
def test_the_devices_time_is_counted_and_told(tmp_path: Path, copied_mlflow_database: Any) -> None:
    import mlflow

    class Clock:
        seconds = 0.0

        def __call__(self) -> float:
            self.seconds += 0.25
            return self.seconds

    state = StateDirectory(root=tmp_path / "counted")
    copied_mlflow_database(state.mlflow_database)
    study = definition_from_plain(PLAIN | FINISH)
    clock = Clock()
    record = run_session(state, UnevenEngine(n_slots=3, slow=["trial-0003"]), study, clock=clock)
    seconds = record.device_use
    assert set(seconds) == {use.value for use in DeviceUse}
    assert all(value > 0.0 for use, value in seconds.items() if use != DeviceUse.STAGE_BORDER)
    assert sum(seconds.values()) == pytest.approx(3 * clock.seconds, rel=0.05)
    client = mlflow.MlflowClient(record.tracking_uri)
    experiment = client.get_experiment_by_name("bell")
    assert experiment is not None
    parent = client.search_runs([experiment.experiment_id], "attributes.run_name = 'bell'")[0]
    assert parent.data.metrics["devices/seconds_training"] == pytest.approx(seconds["training"])
    assert 0.0 <= parent.data.metrics["devices/lost_share"] < 1.0

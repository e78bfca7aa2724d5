"""Stages that continue the best short trials of earlier ones, on virtual workers."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plain_study import BELL
from rich.console import RenderableType
from study_runs import Listener, run_session
from virtual_engine import Faults, KilledError, VirtualEngine

from lightning_modules.callbacks.checkpoint_files import CHECKPOINT_NAME
from search.cli.best import best_report
from search.cli.console import make_console, show
from search.cli.progress_plain import PlainProgress
from search.cli.rows import trial_row
from search.cli.status import status_plain, status_report
from search.cli.trials_table import trials_table
from search.engines.engine import Engine, EngineEvent, MessageReceived
from search.messages import EpochReport, TrialEnded
from search.observer import SilentObserver
from search.paths import StateDirectory
from search.recorded_best import winner
from search.storage import StudyStore
from search.study_file import definition_from_plain
from search.study_record import ScoredTrial, StageOpening, StudyRecord, StudyState
from search.trial import Score, TrialRecord, TrialState

PLAIN: dict[str, Any] = {
    **BELL,
    "stages": [
        {"name": "coarse", "n_trials": 8, "max_epochs": 2, "sampler": "qmc"},
        {"name": "medium", "n_trials": 5, "max_epochs": 3, "sampler": "random", "promote": 2},
        {"name": "fine", "n_trials": 4, "max_epochs": 6, "sampler": "random", "promote": 2},
    ],
    "pruner": "none",
    "early_stopping": "none",
    "finish": {"top_k": 3, "n_seeds": 1},
}

Run = Callable[..., StudyRecord]


@pytest.fixture
def run(tmp_path: Path, untracked: None) -> Run:
    """Run a study; MLflow, which has no part in this, is left out."""

    def run_study(
        engine: Engine,
        *,
        observer: SilentObserver | None = None,
        home: str = "home",
        clock: Callable[[], float] = time.monotonic,
        **changes: Any,
    ) -> StudyRecord:
        state = StateDirectory(root=tmp_path / home)
        return run_session(state, engine, definition_from_plain(PLAIN | changes), observer=observer, clock=clock)

    return run_study


def promoted(record: StudyRecord) -> list[ScoredTrial]:
    return [trial for trial in record.trials if trial.record.continues]


def check_pairs(record: StudyRecord) -> None:
    """Whatever happened, every promoted trial is the continuation of another one, and no trial was promoted twice."""
    by_key = {trial.record.key: trial.record for trial in record.trials}
    assert max(Counter(trial.record.continues for trial in promoted(record)).values(), default=1) == 1
    for trial in promoted(record):
        later, earlier = trial.record, by_key[trial.record.continues]
        assert (later.hyperparameters, later.seed) == (earlier.hyperparameters, earlier.seed)
        assert earlier.state is TrialState.COMPLETE
        assert len(earlier.epochs) < later.n_epochs
        assert later.n_taken_over in (0, len(earlier.epochs))
        assert later.epochs[: later.n_taken_over] == earlier.epochs[: later.n_taken_over]


def test_the_best_short_trials_are_continued_first_and_their_epochs_counted_once(run: Run) -> None:
    engine = VirtualEngine()
    record = run(engine)
    check_pairs(record)
    assert [trial.record.number for trial in promoted(record)] == [8, 9, 13, 14]
    coarse = sorted(record.trials[:8], key=lambda trial: -trial.score.reward if trial.score else 0.0)
    assert [trial.record.continues for trial in record.trials[8:10]] == [trial.record.key for trial in coarse[:2]]
    assert [trial.record.n_taken_over for trial in promoted(record)[:2]] == [2, 2]
    assert max(Counter(engine.trained).values()) == 1
    assert {epoch for key, epoch in engine.trained if key == "trial-0008"} == {3}
    assert record.result is not None
    n_trained = Counter(key.partition("-")[0] for key, _ in engine.trained)
    n_epochs = record.result.n_epochs
    assert sum(n_epochs[stage["name"]] for stage in PLAIN["stages"]) == n_trained["trial"]
    assert record.spent.n_epochs == len(engine.trained)
    assert all(len(trial.record.epochs) == 6 for trial in record.trials[13:])


def test_a_chain_of_promotions_is_one_contender(run: Run) -> None:
    """Every stage continues the best one only, which wins: it is confirmed once, beside others."""
    stages = [{**stage, "promote": 1 if index else 0} for index, stage in enumerate(PLAIN["stages"])]
    stages[2]["n_trials"] = 1
    record = run(VirtualEngine(), stages=stages)
    first, second = promoted(record)
    assert second.record.continues == first.record.key
    assert second.record.n_taken_over == 3
    assert record.result is not None
    numbers = {each.trial_number for each in record.result.confirmations}
    assert record.result.best_trial_number == second.record.number
    assert len(numbers) == 3
    chain = {first.record.number, int(first.record.continues[-4:]), second.record.number}
    assert numbers & chain == {second.record.number}


def told(record: StudyRecord) -> list[object]:
    """All that must be equal between a study that was interrupted and one that was not."""
    assert record.result is not None
    trials = [
        (
            *(each.record.key, each.record.stage, each.record.seed, each.record.state, each.record.reason),
            *(each.record.continues, each.record.n_taken_over, dict(each.record.hyperparameters)),
            [dict(epoch.metrics) for epoch in each.record.epochs],
        )
        for each in record.trials
    ]
    return [trials, record.result.confirmations, record.result.n_epochs, record.result.best_trial_number]


@pytest.mark.slow
def test_a_study_killed_anywhere_makes_the_same_promotions(run: Run) -> None:
    engine = VirtualEngine()
    expected = told(run(engine, home="undisturbed"))
    for n_polls in range(26, 62, 6):
        checkpoints: dict[str, int] = {}
        home = f"killed-{n_polls}"
        with pytest.raises(KilledError):
            run(VirtualEngine(checkpoints=checkpoints, faults=Faults(killed_after_polls=n_polls)), home=home)
        record = run(VirtualEngine(checkpoints=checkpoints), home=home)
        assert record.state is StudyState.FINISHED
        assert told(record) == expected, n_polls


class _Killer(SilentObserver):
    """Dies when a trial starts."""

    def __init__(self, key: str) -> None:
        self._key = key

    def trial_started(self, record: TrialRecord) -> None:
        if record.key == self._key:
            raise KilledError


@pytest.mark.parametrize("damage", ["none", "log lost", "log cut"])
def test_what_is_taken_over_is_repaired_after_a_kill_at_its_beginning(run: Run, tmp_path: Path, damage: str) -> None:
    expected = told(run(VirtualEngine(), home="undisturbed"))
    checkpoints: dict[str, int] = {}
    with pytest.raises(KilledError):
        run(VirtualEngine(checkpoints=checkpoints), observer=_Killer("trial-0009"))
    log = tmp_path / "home" / "trials" / "bell" / "trial-0009" / "epochs.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    if damage == "log lost":
        log.unlink()
    elif damage == "log cut":
        log.write_bytes(b"".join(lines[:2]))
    engine = VirtualEngine(checkpoints=checkpoints)
    assert told(run(engine)) == expected
    assert engine.trained[0] == ("trial-0009", 3)
    assert log.read_bytes().splitlines(keepends=True)[1:3] == lines[1:]


def test_a_promoted_trial_that_loses_its_worker_goes_on(run: Run) -> None:
    engine = VirtualEngine(faults=Faults(loses_worker={"trial-0013": 2}))
    record = run(engine)
    assert record.trials[13].record.n_retries == 2
    assert max(Counter(engine.trained).values()) == 1


class Vandal(Listener):
    """Removes all checkpoints before the second stage."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def stage_opened(self, opening: StageOpening) -> None:
        if opening.name == "medium":
            for path in self._directory.rglob(CHECKPOINT_NAME):
                path.unlink()


@pytest.mark.parametrize("store", ["directory", "url"])
def test_without_a_checkpoint_the_trial_begins_anew_and_says_so(run: Run, tmp_path: Path, store: str) -> None:
    vandal, engine = Vandal(tmp_path), VirtualEngine()
    record = run(engine, observer=vandal, **({"checkpoints": str(tmp_path / "store")} if store == "url" else {}))
    check_pairs(record)
    assert sum("no checkpoint of it is left" in notice for notice in vandal.notices) == 2
    assert [trial.record.n_taken_over for trial in promoted(record)] == [0, 0, 3, 3]
    assert [epoch for key, epoch in engine.trained if key == "trial-0008"] == [1, 2, 3]
    assert record.spent.n_epochs == len(engine.trained)


@pytest.mark.parametrize("store", ["directory", "url"])
def test_checkpoints_stay_as_long_as_they_may_be_continued_from(run: Run, tmp_path: Path, store: str) -> None:
    root = tmp_path / ("store" if store == "url" else "home")

    class Ear(SilentObserver):
        def __init__(self) -> None:
            self.kept: dict[str, set[str]] = {}

        def trial_started(self, record: TrialRecord) -> None:
            self.kept[record.key] = {path.parent.name for path in root.rglob(CHECKPOINT_NAME)}

    ear = Ear()
    record = run(VirtualEngine(), observer=ear, **({"checkpoints": str(root)} if store == "url" else {}))
    by_reward = [
        each.record.key
        for each in sorted(record.trials[:8], key=lambda each: -each.score.reward if each.score else 0.0)
    ]
    assert ear.kept["trial-0008"] == set(by_reward[:4])  # as many as two stages may take
    for trial in promoted(record):
        assert trial.record.continues in ear.kept[trial.record.key]
    left = {path.parent.name for path in root.rglob(CHECKPOINT_NAME)}
    assert len(left) == 3
    assert left.isdisjoint(trial.record.continues for trial in promoted(record))


def test_a_diverged_trial_is_not_promoted(run: Run) -> None:
    best = run(VirtualEngine(), home="first").trials[8].record.continues
    record = run(VirtualEngine(faults=Faults(diverges={best})))
    check_pairs(record)
    assert best not in {trial.record.continues for trial in promoted(record)}


@pytest.mark.parametrize("n_slots", [3, 8])
def test_with_many_workers_no_trial_is_promoted_twice(run: Run, n_slots: int) -> None:
    record = run(VirtualEngine(n_slots=n_slots))
    check_pairs(record)
    assert Counter(trial.record.stage for trial in promoted(record)) == {"medium": 2, "fine": 2}


def test_a_trial_is_not_continued_before_its_worker_has_written_its_checkpoint(run: Run) -> None:
    best = run(VirtualEngine(), home="first").trials[8].record.continues
    ended, left = set[str](), set[str]()

    class Late(VirtualEngine):
        def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
            for _ in range(len(self._events) - 1):
                if not _is_farewell(self._events[0], of=best):
                    break
                self._events.rotate(-1)
            events = super().poll(timeout_seconds=timeout_seconds)
            left.update(best for event in events if _is_farewell(event, of=best))
            return events

    class Ear(SilentObserver):
        def trial_finished(self, record: TrialRecord, score: Score | None) -> None:
            ended.add(record.key)

        def trial_started(self, record: TrialRecord) -> None:
            if record.continues == best:
                assert best in left
            elif record.number == 7:
                assert best in ended - left

    record = run(Late(n_slots=2), observer=Ear())
    assert best in {trial.record.continues for trial in promoted(record)}


def _is_farewell(event: EngineEvent, *, of: str) -> bool:
    return (
        isinstance(event, MessageReceived) and isinstance(event.message, TrialEnded) and event.message.trial_key == of
    )


def test_a_failed_continuation_leaves_the_short_trial_a_contender(run: Run) -> None:
    stages = PLAIN["stages"][:2]
    record = run(VirtualEngine(faults=Faults(raises={"trial-0008"})), stages=stages)
    assert record.trials[8].record.state is TrialState.FAILED
    assert record.result is not None
    numbers = {each.trial_number for each in record.result.confirmations}
    assert int(record.trials[8].record.continues[-4:]) in numbers
    assert int(record.trials[9].record.continues[-4:]) not in numbers
    assert 9 in numbers


def test_a_continuation_that_ends_sooner_than_the_short_trial_is_no_contender_beside_it(
    run: Run, tmp_path: Path
) -> None:
    engine = VirtualEngine(faults=Faults(stops_itself={"trial-0008"}))
    record = run(engine, observer=Vandal(tmp_path), finish={"top_k": 20, "n_seeds": 1})
    again = record.trials[8].record
    assert (again.state, len(again.epochs)) == (TrialState.STOPPED_EARLY, 1)
    assert record.result is not None
    numbers = {each.trial_number for each in record.result.confirmations}
    assert int(again.continues[-4:]) in numbers and 8 not in numbers


def test_a_continuation_that_the_budget_stops_leaves_the_short_trial_a_contender(run: Run) -> None:
    stages = [PLAIN["stages"][0], {**PLAIN["stages"][2], "n_trials": 1, "promote": 1}]

    def wait(report: EpochReport) -> None:
        if report.epoch == 4:
            engine.seconds += 36_000.0

    engine = VirtualEngine(on_epoch=wait)
    record = run(engine, clock=lambda: engine.seconds, stages=stages, budget={"hours": 5})
    (last,) = promoted(record)
    assert (last.record.state, len(last.record.epochs)) == (TrialState.STOPPED, 4)
    assert record.result is not None
    assert record.result.best_trial_number == int(last.record.continues[-4:])


@pytest.mark.parametrize("storage", [None, pytest.param("sqlite:///{}/optuna.db", marks=pytest.mark.slow)])
def test_what_is_continued_is_in_the_optuna_storage(run: Run, tmp_path: Path, storage: str | None) -> None:
    record = run(VirtualEngine(), storage=storage and storage.format(tmp_path))
    with closing(StudyStore(record.storage, create=False)) as store:
        stored = store.open("bell").trials()
    assert [(each.continues, each.n_taken_over) for each in stored] == [
        (each.record.continues, each.record.n_taken_over) for each in record.trials
    ]
    assert [len(each.epochs) for each in stored] == [len(each.record.epochs) for each in record.trials]


def test_people_are_told_which_trials_continue_others(run: Run) -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream=stream)
    record = run(VirtualEngine(), observer=progress)
    numbers = [trial.record.continues[-4:].lstrip("0") for trial in promoted(record)]
    lines = stream.getvalue().splitlines()
    assert any("stage fine: 4 trials (2 to continue shorter ones), up to 6 epochs each" in line for line in lines)
    assert sum("continued #" in line for line in lines) == 4
    assert any(f"#8: complete, epoch 3/3, continued #{numbers[0]} after epoch 2, val_acc" in line for line in lines)
    stages = status_plain(record)["stages"]
    assert [(each["n_promoted"], each["n_epochs"]) for each in stages] == [(0, 16), (2, 11), (2, 18)]
    assert "promoted" in shown(status_report(record))
    row = trial_row(record.trials[13], record.definition.objective)
    assert (row["continues"], row["n_taken_over"], row["n_epochs"]) == (int(numbers[2]), 3, 6)
    table = shown(trials_table(record, record.trials, width=120)).splitlines()
    assert table[0].split()[:3] == ["#", "continues", "stage"]
    assert table[14].split()[:3] == ["13", numbers[2], "fine"]
    best = winner(replace(record, result=None))
    assert best is not None
    assert best.record.key not in {trial.record.continues for trial in promoted(record)}
    assert f"continues  #{best.record.continues[-4:].lstrip('0')}" in shown(best_report(record, width=120))


def shown(report: RenderableType) -> str:
    file = io.StringIO()
    show(make_console(file=file, width=120), report)
    return file.getvalue()


@pytest.mark.slow
def test_mlflow_has_the_curve_from_the_first_epoch_and_says_whose_it_was(state: StateDirectory) -> None:
    import mlflow

    record = run_session(state, VirtualEngine(), definition_from_plain(PLAIN))
    client = mlflow.MlflowClient(record.tracking_uri)
    experiment = client.get_experiment_by_name("bell")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {key for key, run in runs.items() if "zeroin.continues" in run.data.tags} == {
        trial.record.key for trial in promoted(record)
    }
    trial = record.trials[13].record
    run = runs[trial.key]
    assert run.data.tags["zeroin.continues"] == trial.continues
    points = client.get_metric_history(run.info.run_id, "val_acc")
    assert {(point.step, point.value) for point in points} == {
        (epoch.epoch, epoch.metrics["val_acc"]) for epoch in trial.epochs
    }
    assert len(points) == 6

"""Real trainings that go on where another trial ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from no_tracker import NoTracker
from plain_study import BELL
from small_training import Coordinator, assignment, comparable
from study_runs import run_session

from lightning_modules.callbacks.checkpoint_files import CHECKPOINT_NAME
from search.checkpoint_store import CheckpointStore
from search.coordinator.assembly import assemble
from search.messages import TrialAssignment
from search.paths import StateDirectory
from search.study_file import definition_from_plain
from search.study_record import StudyRecord
from search.trial import TrialRecord


@pytest.mark.slow
def test_a_promoted_training_goes_on_from_a_checkpoint_behind_a_url(tmp_path: Path) -> None:
    from search.worker.training import train

    short, long, whole = (tmp_path / name for name in ("trial-0001", "trial-0005", "whole"))
    for directory in (short, long, whole):
        directory.mkdir()
    urls = [str(tmp_path / "store" / name) for name in ("short", "long")]
    first, second, undisturbed = Coordinator(), Coordinator(), Coordinator()
    train(assignment(short, n_epochs=2, horizon_epochs=5, checkpoints=urls[0]), first)
    (short / CHECKPOINT_NAME).unlink()
    assert CheckpointStore(urls[0]).has(CHECKPOINT_NAME)
    ended = train(
        assignment(
            long,
            trial_key="trial-0005",
            n_epochs=5,
            resume=True,
            n_epochs_reported=2,
            checkpoints=urls[1],
            inherited_directory=str(short),
            inherited_checkpoints=urls[0],
        ),
        second,
    )
    train(assignment(whole, n_epochs=5), undisturbed)
    assert (ended.error, ended.n_epochs) == ("", 5)
    assert not any("checkpoint" in notice for notice in ended.notices)
    assert [(each.trial_key, each.epoch) for each in second.reports] == [("trial-0005", epoch) for epoch in (3, 4, 5)]
    assert comparable([*first.reports, *second.reports]) == undisturbed.comparable


@pytest.mark.slow
def test_an_epoch_that_was_lost_with_its_worker_is_trained_again_by_the_promoted_trial(tmp_path: Path) -> None:
    from search.worker.training import train

    short, long, whole = (tmp_path / name for name in ("trial-0001", "trial-0005", "whole"))
    for directory in (short, long, whole):
        directory.mkdir()
    second, undisturbed = Coordinator(), Coordinator()
    # Its second epoch was reported, but not saved.
    train(assignment(short, n_epochs=1, horizon_epochs=5), Coordinator())
    ended = train(
        assignment(long, n_epochs=5, resume=True, n_epochs_reported=2, inherited_directory=str(short)), second
    )
    train(assignment(whole, n_epochs=5), undisturbed)
    assert (ended.error, ended.n_epochs) == ("", 5)
    assert second.comparable == undisturbed.comparable[-len(second.comparable) :]
    assert [each.epoch for each in second.reports] == [2, 3, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("left", [None, b"garbage" * 999])
def test_a_promoted_training_without_a_checkpoint_begins_anew_and_says_so(tmp_path: Path, left: bytes | None) -> None:
    from search.worker.training import train

    short, long = tmp_path / "trial-0001", tmp_path / "trial-0005"
    for directory in (short, long):
        directory.mkdir()
    if left is not None:
        (short / CHECKPOINT_NAME).write_bytes(left)
    second, undisturbed = Coordinator(), Coordinator()
    ended = train(assignment(long, resume=True, n_epochs_reported=2, inherited_directory=str(short)), second)
    assert (short / CHECKPOINT_NAME).exists() is (left is not None), "the other trial's files are its own"
    train(assignment(short), undisturbed)
    assert second.comparable == undisturbed.comparable
    assert any("begins anew" in notice for notice in ended.notices)


@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
def test_on_real_workers_a_promoted_trial_equals_one_that_was_never_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.engines.devices import DeviceSlot
    from search.engines.local import LocalEngine

    root = Path(__file__).resolve().parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(root), str(root / "tests"))))
    engine = LocalEngine([DeviceSlot(label="CPU", environment={"CUDA_VISIBLE_DEVICES": ""})])
    stages = [
        {"name": "coarse", "n_trials": 3, "max_epochs": 2, "sampler": "qmc"},
        {"name": "fine", "n_trials": 2, "max_epochs": 5, "sampler": "random", "promote": 2},
    ]
    plain = {
        **BELL,
        "stages": stages,
        "pruner": "none",
        "model": {"class_path": "small_training.Net"},
        "data": {"class_path": "small_training.Data"},
        "space": {"model.learning_rate": {"log": [1.0e-3, 1.0]}},
    }
    monkeypatch.setattr("search.coordinator.session.MlflowTracker", NoTracker)
    record = run_session(StateDirectory(root=tmp_path / "home"), engine, definition_from_plain(plain))
    by_key = {each.record.key: each.record for each in record.trials}
    promoted = [each.record for each in record.trials if each.record.continues]
    whole = tmp_path / "whole"
    for trial in promoted:
        assert (trial.n_taken_over, [epoch.epoch for epoch in trial.epochs]) == (2, [1, 2, 3, 4, 5])
        assert trial.epochs[:2] == by_key[trial.continues].epochs
        uninterrupted = trained(trial, record, whole / trial.key)
        assert [timeless(epoch.metrics) for epoch in trial.epochs] == uninterrupted
    assert len(promoted) == 2


def trained(record: TrialRecord, study: StudyRecord, directory: Path) -> list[dict[str, float]]:
    """Train what the trial has from its beginning to its end, in this process."""
    from search.worker.training import train

    directory.mkdir(parents=True)
    coordinator = Coordinator()
    train(
        TrialAssignment(
            trial_key="whole",
            assembly=assemble(study.definition, record.hyperparameters),
            directory=str(directory),
            seed=record.seed,
            n_epochs=record.n_epochs,
            horizon_epochs=record.horizon_epochs,
            resume=False,
            n_epochs_reported=0,
            merge_validation=False,
        ),
        coordinator,
    )
    return coordinator.comparable


def timeless(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != "epoch_seconds"}

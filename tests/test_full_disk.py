"""A disk that is full while a study runs: it stops with a message, nothing is half-written, and it goes on later."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import mlflow
import pytest
from full_disk import small_disk
from small_training import Coordinator, assignment
from test_coordinator import fingerprint, run
from virtual_engine import VirtualEngine

from search.epoch_log import read_epoch_log
from search.errors import StateError
from search.messages import Cause, EpochReport, FromWorker, Notice
from search.observer import SilentObserver
from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_record import StudyState
from search.worker.training import train

FULL = os.strerror(28)


@pytest.mark.slow
def test_a_study_stops_and_is_resumed_when_there_is_room_again(tmp_path: Path, copied_mlflow_database: Any) -> None:
    undisturbed = StateDirectory(root=tmp_path / "undisturbed")
    copied_mlflow_database(undisturbed.mlflow_database)
    expected = run(undisturbed, VirtualEngine())
    with small_disk(tmp_path / "disk", n_megabytes=16) as disk:
        state = StateDirectory(root=disk.root / "mlruns")
        copied_mlflow_database(state.mlflow_database)

        def fill(report: EpochReport) -> None:
            if (report.trial_key, report.epoch) == ("trial-0005", 1):
                disk.fill()

        checkpoints: dict[str, int] = {}
        first = VirtualEngine(checkpoints=checkpoints, on_epoch=fill)
        with pytest.raises(StateError, match=f"cannot be written: {FULL}") as caught:
            run(state, first)
        assert str(caught.value).endswith("Once that is mended: zeroin resume bell")
        assert caught.value.exit_code == 2
        assert first.closed
        for path in [state.optuna_journal, *state.root.glob("trials/bell/*/epochs.jsonl")]:
            assert re.fullmatch(rb"(.+\n)*", path.read_bytes()), f"{path} ends in the middle of a line"
        assert read_study("bell", directory=state).state is StudyState.UNFINISHED
        disk.free()
        second = VirtualEngine(checkpoints=checkpoints)
        record = run(state, second)
        assert fingerprint(record) == fingerprint(expected)
        assert len({*first.trained} & {*second.trained}) <= 1  # the epoch under way
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{state.mlflow_database}")
        (experiment,) = [each for each in client.search_experiments() if each.name == "bell"]
        runs = client.search_runs([experiment.experiment_id])
        keys = [each.data.tags.get("zeroin.trial", "study") for each in runs]
        assert len(keys) == len(set(keys))
        assert {each.info.status for each in runs} <= {"FINISHED", "KILLED"}
        del client


class FillingCoordinator(Coordinator):
    """Keeps notices too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.notices: list[str] = []

    def send(self, message: FromWorker) -> None:
        if isinstance(message, Notice):
            self.notices.append(message.text)
        else:
            super().send(message)


def test_training_goes_on_without_new_checkpoints_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    undisturbed = Coordinator()
    train(assignment(tmp_path / "whole", n_epochs=4), undisturbed)
    with small_disk(tmp_path / "disk", n_megabytes=1) as disk:

        def fill(epoch: int) -> None:
            if epoch == 1:
                disk.fill(free_bytes=4096)

        coordinator = FillingCoordinator(spy=fill)
        ended = train(assignment(disk.root, n_epochs=4), coordinator)
        assert (ended.n_epochs, ended.error) == (4, "")
        assert coordinator.comparable == undisturbed.comparable
        assert coordinator.notices == [
            f"trial-0001 goes on without new checkpoints, they cannot be written: {FULL}.",
        ]
        assert not list(disk.root.glob("*.tmp"))
        disk.free()
        again = Coordinator()
        train(assignment(disk.root, n_epochs=4, resume=True, n_epochs_reported=1), again)
        assert again.comparable == undisturbed.comparable[1:]


def test_a_checkpoint_that_was_not_written_is_not_uploaded(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with small_disk(tmp_path / "disk", n_megabytes=1) as disk:
        disk.fill()
        coordinator = FillingCoordinator(spy=lambda epoch: disk.free() if epoch == 2 else None)
        ended = train(assignment(disk.root, checkpoints=f"file://{store}"), coordinator)
        assert (ended.n_epochs, ended.error) == (3, "")
        assert len(coordinator.notices) == 1
    assert [each.name for each in store.iterdir()] == ["last.ckpt"]  # of the epoch after there was room again


def test_a_refit_whose_weights_cannot_be_written_is_no_failed_refit(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", n_megabytes=1) as disk:
        coordinator = FillingCoordinator(spy=lambda epoch: disk.fill() if epoch == 2 else None)
        ended = train(assignment(disk.root, n_epochs=2, merge_validation=True), coordinator)
        assert ended.cause is Cause.STORAGE
        assert ended.error == f"the weights {disk.root / 'weights.pt'} cannot be written: {FULL}."
        assert not (disk.root / "weights.pt").exists()
        disk.free()
        ended = train(
            assignment(disk.root, n_epochs=2, merge_validation=True, resume=True, n_epochs_reported=2), Coordinator()
        )
        assert (ended.error, (disk.root / "weights.pt").exists()) == ("", True)


def test_a_trial_whose_directory_cannot_be_written_stops_the_study_and_not_itself(
    tmp_path: Path, copied_mlflow_database: Any
) -> None:
    class FullEngine(VirtualEngine):
        def _train_epoch(self, worker: int) -> None:
            self._trainings[worker].epoch = 1
            self._end(worker, error=f"OSError: [Errno 28] {FULL}", cause=Cause.STORAGE)

    state = StateDirectory(root=tmp_path / "mlruns")
    copied_mlflow_database(state.mlflow_database)
    with pytest.raises(StateError, match=rf"trial-0000: OSError.*{FULL}.* zeroin resume bell"):
        run(state, FullEngine(), observer=SilentObserver())
    record = read_epoch_log(state.study("bell").trial("trial-0000").epoch_log)
    assert record is not None
    assert not record.state.is_finished

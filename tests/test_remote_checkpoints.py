"""Trials whose checkpoints are behind a URL, on machines that share no directory with the coordinator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from engine_conformance import assembly, assignment
from plain_study import BELL
from small_training import Coordinator
from study_runs import run_session
from virtual_engine import VirtualEngine

from lightning_modules.callbacks.checkpoint_files import CHECKPOINT_NAME
from search.messages import Action, Cause, TestAssignment, TrialAssignment, TrialEnded
from search.paths import StateDirectory
from search.study_file import definition_from_plain
from search.worker.output_file import output_to
from search.worker.test_reading import read_test
from search.worker.training import train
from search.worker.trial_place import OUTPUT_NAME, is_missing, told_as_missing, trial_place

URL = "memory://remote-checkpoints"


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    yield
    files = fsspec.filesystem("memory")
    if files.exists(URL):
        files.rm(URL, recursive=True)


def remote(given: TrialAssignment) -> TrialAssignment:
    """The trial as another machine gets it: its directory is not there."""
    return replace(given, directory="/not/on/this/machine", checkpoints=f"{URL}/{given.trial_key}")


def carry_out(given: TrialAssignment, coordinator: Coordinator) -> TrialEnded:
    """Do as the worker does."""
    with trial_place(given) as placed:
        assert not is_missing(placed)
        with output_to(Path(placed.directory) / OUTPUT_NAME):
            return train(placed, coordinator)


@pytest.mark.slow
def test_a_trial_moves_between_machines_that_share_nothing_but_the_url(tmp_path: Path) -> None:
    given = assignment(tmp_path / "trial-0000")
    expected = Coordinator()
    assert train(given, expected).error == ""
    first, second = Coordinator({1: Action.PAUSE}), Coordinator()
    assert carry_out(remote(given), first).n_epochs == 1
    ended = carry_out(remote(replace(given, n_epochs_reported=1)), second)
    assert (ended.n_epochs, ended.error) == (3, "")
    assert [report.epoch for report in second.reports] == [2, 3]
    assert first.comparable + second.comparable == expected.comparable
    names = {Path(each).name for each in fsspec.filesystem("memory").find(URL)}
    assert names == {"last.ckpt", OUTPUT_NAME}


def test_what_another_rank_prints_does_not_replace_what_rank_0_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = remote(assignment(tmp_path / "trial-0000"))
    place = {"TORCHELASTIC_RUN_ID": "group", "WORLD_SIZE": "2"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with trial_place(given) as placed:
            (Path(placed.directory) / OUTPUT_NAME).write_text(f"of rank {rank}")
    assert fsspec.filesystem("memory").cat(f"{given.checkpoints}/{OUTPUT_NAME}") == b"of rank 0"


def test_what_the_url_has_counts_and_not_what_was_left_on_the_disk(tmp_path: Path) -> None:
    given = assignment(tmp_path / "trial-0000", n_epochs=1)
    assert train(given, Coordinator()).error == ""  # leaves a checkpoint
    coordinator = Coordinator()
    carry_out(replace(given, checkpoints=f"{URL}/other"), coordinator)
    assert [report.epoch for report in coordinator.reports] == [1]
    assert (tmp_path / "trial-0000" / OUTPUT_NAME).exists()  # the directory that is there is used


def test_a_store_that_takes_nothing_fails_the_trial_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.checkpoint_store.time.sleep", lambda seconds: None)
    (tmp_path / "a-file").touch()
    given = replace(assignment(tmp_path / "trial-0000"), checkpoints=f"file://{tmp_path}/a-file/x")
    ended = train(given, Coordinator())
    assert ended.error.startswith("checkpoints: cannot ")


def test_a_store_whose_package_this_machine_lacks_fails_the_trial_with_its_reason(tmp_path: Path) -> None:
    given = replace(assignment(tmp_path / "trial-0000"), checkpoints="no-such-protocol://bucket/x")
    ended = train(given, Coordinator())
    assert (ended.n_epochs, ended.cause) == (0, Cause.STORAGE)
    assert ended.error.startswith("checkpoints: no-such-protocol://bucket/x cannot be used: ")


def test_refits_are_tested_with_weights_from_the_url(tmp_path: Path) -> None:
    given = replace(assignment(tmp_path / "refit-seed0", n_epochs=1), merge_validation=True)
    assert train(given, Coordinator()).error == ""
    assert carry_out(remote(given), Coordinator()).error == ""
    questions = [
        TestAssignment(
            assembly=assembly(), trial_keys=("refit-seed0",), directories=(directory,), ensemble=False, checkpoints=urls
        )
        for directory, urls in ((given.directory, ()), ("/not/on/this/machine", (f"{URL}/refit-seed0",)))
    ]
    here, there = (read_test(question) for question in questions)
    assert here.error == there.error == ""
    assert here.members == there.members
    assert here.n_samples == 539


def test_without_url_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    given = replace(assignment(tmp_path / "trial-0000"), directory="/not/on/this/machine", n_epochs_reported=2)
    with trial_place(given) as placed:
        assert is_missing(placed)
        ended = told_as_missing(placed)
    assert (ended.trial_key, ended.n_epochs, ended.cause) == ("trial-0000", 2, Cause.STORAGE)
    assert "does not see /not/on/this/machine" in ended.error
    assert "ZEROIN_HOME" in ended.error


@pytest.mark.slow
def test_of_a_study_only_the_best_trials_checkpoints_stay_behind_the_url(state: StateDirectory, tmp_path: Path) -> None:
    url = tmp_path / "store"
    study = definition_from_plain(
        {
            **BELL,
            "stages": [{"name": "only", "n_trials": 20, "max_epochs": 2, "sampler": "random"}],
            "finish": {"top_k": 2, "n_seeds": 2},
            "checkpoints": str(url),
        }
    )
    engine = VirtualEngine()
    run_session(state, engine, study)
    assert len({key for key, _ in engine.trained if not key.startswith("trial-")}) == 6  # 4 confirmations, 2 refits
    left = {path.parent.name for path in url.rglob(CHECKPOINT_NAME)}
    assert left == {path.parent.name for path in (state.root / "trials").rglob(CHECKPOINT_NAME)}
    assert all(key.startswith("trial-") for key in left)
    assert 0 < len(left) < 20

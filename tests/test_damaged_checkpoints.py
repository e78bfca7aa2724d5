"""A checkpoint that is damaged when a trial goes on: the one before it is used, and nothing but an epoch is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_training import Coordinator, assignment

from search.messages import Action
from search.worker.training import train


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 999)


def other_content(path: Path) -> None:
    import torch

    torch.save({"state_dict": {}}, path)


def paused(directory: Path, *, epoch: int) -> None:
    """Train until that epoch, so that two checkpoints are there if it is the second or a later one."""
    train(assignment(directory), Coordinator({epoch: Action.PAUSE}))


@pytest.mark.parametrize("damage", [truncate, empty, garbage, other_content])
def test_the_trial_goes_on_from_the_checkpoint_before(damage: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "damaged").mkdir()
    undisturbed = Coordinator()
    train(assignment(tmp_path / "whole"), undisturbed)
    paused(tmp_path / "damaged", epoch=2)
    damage(tmp_path / "damaged" / "last.ckpt")
    coordinator = Coordinator()
    ended = train(assignment(tmp_path / "damaged", resume=True, n_epochs_reported=2), coordinator)
    assert (ended.n_epochs, ended.error) == (3, "")
    assert coordinator.comparable == undisturbed.comparable[1:]  # one epoch was trained again
    assert [each for each in ended.notices if "goes on after epoch 1, its last checkpoint is useless" in each]
    assert not [each for each in ended.notices if "anew" in each]


def test_if_both_are_damaged_the_trial_begins_anew_and_says_so(tmp_path: Path) -> None:
    paused(tmp_path, epoch=2)
    truncate(tmp_path / "last.ckpt")
    empty(tmp_path / "previous.ckpt")
    coordinator = Coordinator()
    ended = train(assignment(tmp_path, resume=True, n_epochs_reported=2), coordinator)
    assert [report.epoch for report in coordinator.reports] == [1, 2, 3]
    assert [each for each in ended.notices if "begins anew, its last checkpoint is useless" in each]


def test_a_checkpoint_before_that_is_alone_is_used(tmp_path: Path) -> None:
    paused(tmp_path, epoch=2)
    (tmp_path / "last.ckpt").unlink()
    alone = (tmp_path / "previous.ckpt").stat().st_ino
    kept: list[bool] = []
    coordinator = Coordinator(spy=lambda epoch: kept.append((tmp_path / "previous.ckpt").stat().st_ino == alone))
    ended = train(assignment(tmp_path, resume=True, n_epochs_reported=2), coordinator)
    assert [report.epoch for report in coordinator.reports] == [2, 3]
    assert not [each for each in ended.notices if "useless" in each]
    assert kept == [True, False]  # it stays until there are two others


def test_the_one_before_is_a_second_name_and_no_copy_until_the_next_epoch(tmp_path: Path) -> None:
    seen: list[tuple[int, bool]] = []

    def look(epoch: int) -> None:
        last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
        seen.append((last.stat().st_nlink, previous.exists() and previous.stat().st_ino != last.stat().st_ino))

    train(assignment(tmp_path), Coordinator(spy=look))
    assert seen == [(1, False), (1, True), (1, True)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]

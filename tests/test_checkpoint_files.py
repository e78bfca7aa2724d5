from __future__ import annotations

from pathlib import Path

import pytest

from lightning_modules.callbacks.checkpoint_files import remove_checkpoint
from lightning_modules.callbacks.epoch_checkpoint import CheckpointError, load_checkpoint, write_atomically


def write_directory(path: Path) -> None:
    path.mkdir()
    (path / "shard").write_text("new")


def write_file(path: Path) -> None:
    path.write_text("new")


@pytest.mark.parametrize("write", [write_directory, write_file])
@pytest.mark.parametrize("before", [None, write_directory, write_file])
def test_a_checkpoint_of_any_shape_takes_the_place_of_any_other(write: object, before: object, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    if callable(before):
        before(path)
    assert callable(write)
    write_atomically(path, write)
    assert ((path / "shard") if path.is_dir() else path).read_text() == "new"
    assert path.is_dir() is (write is write_directory)
    assert list(tmp_path.iterdir()) == [path]
    remove_checkpoint(path)
    remove_checkpoint(path)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_cannot_be_read_as_a_checkpoint(tmp_path: Path) -> None:
    write_directory(tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "last.ckpt")

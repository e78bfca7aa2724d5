from __future__ import annotations

from pathlib import Path

import pytest
from full_disk import largest_file
from plain_study import study

from search.errors import StateError
from search.storage import StudyStore


def journal(tmp_path: Path) -> tuple[StudyStore, Path]:
    """A storage with one study in it."""
    path = tmp_path / "optuna.journal"
    store = StudyStore(f"journal://{path}", create=True)
    store.create(study(), directory=tmp_path)
    return store, path


@pytest.mark.parametrize("garbage", [b"garbage", b"{}", b"7", b'{"op_code":', b"\xff\xfe"])
def test_garbage_between_the_lines_is_an_error_with_file_and_line(garbage: bytes, tmp_path: Path) -> None:
    _, path = journal(tmp_path)
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + garbage + b"\n" + b"".join(rest))
    with pytest.raises(StateError, match=r"optuna\.journal:2: not an entry of an Optuna journal"):
        StudyStore(f"journal://{path}", create=False).names()


def test_an_entry_that_does_not_fit_on_the_disk_is_an_error_and_leaves_the_journal_whole(tmp_path: Path) -> None:
    store, path = journal(tmp_path)
    before = path.read_bytes()
    with (
        largest_file(len(before) + 20),
        pytest.raises(StateError, match=r"journal .*optuna\.journal cannot be written"),
    ):
        store.open("small").add_bookkeeping({"asking": 1.0})
    assert path.read_bytes() == before
    again = StudyStore(f"journal://{path}", create=False).open("small")
    again.add_bookkeeping({"asking": 2.0})
    assert again.bookkeeping_seconds == {"asking": 2.0}

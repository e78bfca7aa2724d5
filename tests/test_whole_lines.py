from __future__ import annotations

from pathlib import Path

import pytest
from full_disk import largest_file
from hypothesis import given
from hypothesis import strategies as st

from search.whole_lines import append_whole, drop_partial_line


@pytest.mark.parametrize("n_too_many", [1, 5, 300])
def test_a_write_that_is_cut_short_leaves_nothing_of_it(n_too_many: int, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\n")
    with path.open("a+b", buffering=0) as file:
        with largest_file(6 + 300 - n_too_many), pytest.raises(OSError, match="too large"):
            append_whole(file, b"x" * 299 + b"\n")
        assert path.read_bytes() == b"first\n"
        append_whole(file, b"second\n")
    assert path.read_bytes() == b"first\nsecond\n"


@given(
    whole=st.lists(st.binary(max_size=20).map(lambda each: each.replace(b"\n", b"")), max_size=5),
    partial=st.binary(max_size=200_000).map(lambda each: each.replace(b"\n", b"")),
)
def test_what_follows_the_last_newline_is_dropped(
    whole: list[bytes], partial: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lines") / "log"
    lines = b"".join(each + b"\n" for each in whole)
    path.write_bytes(lines + partial)
    with path.open("a+b", buffering=0) as file:
        assert drop_partial_line(file) == len(lines)
    assert path.read_bytes() == lines


def test_a_partial_line_longer_than_a_block_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\n" + b"x" * 200_000)
    with path.open("a+b", buffering=0) as file:
        append_whole(file, b"second\n")
    assert path.read_bytes() == b"first\nsecond\n"

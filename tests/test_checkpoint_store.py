"""Checkpoints behind URLs: a file is there whole or not at all, and what cannot work is said before it is needed."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from search.checkpoint_store import CheckpointStore
from search.errors import StateError
from search.paths import StateDirectory

MakeUrl = Callable[[], str]


@pytest.fixture(params=["file", "local", "memory", "path"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    place = tmp_path / "store" / "trial-0000"
    name = uuid.uuid4().hex
    yield {
        "file": f"file://{place}",
        "local": f"local://{place}",
        "memory": f"memory://{name}/trial-0000",
        "path": str(place),
    }[request.param]
    if request.param == "memory":
        fsspec.filesystem("memory").rm(name, recursive=True)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here" / "last.ckpt"


def test_what_was_put_comes_back_until_it_is_removed(url: str, local: Path) -> None:
    store = CheckpointStore(url)
    for content in (b"first", b"second"):
        local.write_bytes(content)
        store.put(local)
    assert CheckpointStore(url).get("last.ckpt", local.with_name("copy"))
    assert local.with_name("copy").read_bytes() == b"second"
    store.remove("last.ckpt")
    store.remove("last.ckpt")
    assert not CheckpointStore(url).get("last.ckpt", local.with_name("copy"))
    assert not local.with_name("copy").exists()  # a copy of what is no more would be continued from
    assert {path.name for path in local.parent.iterdir()} == {"last.ckpt"}


def test_a_store_can_be_checked_and_removed_whole(url: str, local: Path) -> None:
    store = CheckpointStore(url)
    store.check()
    local.write_bytes(b"content")
    store.put(local)
    files, root = fsspec.core.url_to_fs(url)
    assert [Path(each).name for each in files.find(root)] == ["last.ckpt"]
    store.remove_all()
    store.remove_all()
    assert not files.exists(root)


def test_a_reader_never_sees_half_a_file(tmp_path: Path, local: Path) -> None:
    url = f"file://{tmp_path / 'store'}"
    size = 4 << 20
    local.write_bytes(b"0" * size)
    CheckpointStore(url).put(local)
    seen: set[tuple[int, int]] = set()
    is_over = threading.Event()

    def read() -> None:
        store = CheckpointStore(url)
        while not is_over.is_set():
            assert store.get("last.ckpt", tmp_path / "copy")
            content = (tmp_path / "copy").read_bytes()
            seen.add((len(content), content.count(content[:1])))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(30):
        local.write_bytes(bytes([number]) * size)
        CheckpointStore(url).put(local)
    is_over.set()
    reader.join()
    assert seen == {(size, size)}


def test_an_upload_that_fails_leaves_the_one_before(
    tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(f"file://{tmp_path / 'store'}", pauses_seconds=[0.0])
    local.write_bytes(b"before")
    store.put(local)
    files = fsspec.filesystem("file")
    n_attempts = []

    def break_down(source: str, target: str) -> None:
        n_attempts.append(target)
        Path(target).write_bytes(b"aft")
        raise OSError("disk quota exceeded")

    monkeypatch.setattr(files, "put_file", break_down)
    local.write_bytes(b"after")
    with pytest.raises(StateError, match=r"cannot write file:.*disk quota exceeded"):
        store.put(local)
    assert len(n_attempts) == 2
    assert [path.read_bytes() for path in (tmp_path / "store").iterdir()] == [b"before"]


@pytest.mark.parametrize(
    ("url", "expected"), [("no-such-protocol://x/y", "no-such-protocol"), ("sftp://user:secret@host/x", "paramiko")]
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str, expected: str) -> None:
    with pytest.raises(StateError, match=expected) as caught:
        CheckpointStore(url)
    assert "secret" not in str(caught.value)


def test_a_store_that_is_not_there_is_told_without_its_password() -> None:
    with pytest.raises(StateError, match=r"cannot reach ftp://me:\*\*\*@127\.0\.0\.1:1/x: ConnectionRefused") as caught:
        CheckpointStore("ftp://me:secret@127.0.0.1:1/x", pauses_seconds=())
    assert "secret" not in str(caught.value)


def test_a_store_that_cannot_be_written_fails_the_check(tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(StateError, match="cannot write"):
        CheckpointStore(f"file://{tmp_path / 'a-file' / 'store'}", pauses_seconds=()).check()


def test_studies_of_one_name_have_directories_of_their_own() -> None:
    paths = StateDirectory(root=Path("/state")).study("digits")
    urls = {
        paths.with_checkpoints("s3://bucket/zeroin/", study_uid=uid).trial("trial-0000").checkpoints
        for uid in ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb")
    }
    assert urls == {f"s3://bucket/zeroin/digits-{letter * 12}/trial-0000" for letter in "ab"}
    assert paths.with_checkpoints(None, study_uid="aaaaaaaaaaaaaaaa").trial("trial-0000").checkpoints == ""


def test_a_checkpoint_that_cannot_be_removed_stays_and_ends_no_study(tmp_path: Path) -> None:
    paths = StateDirectory(root=tmp_path).study("digits")
    trial = paths.with_checkpoints("no-such-protocol://x", study_uid="a" * 16).trial("trial-0000")
    trial.directory.mkdir(parents=True)
    trial.checkpoint.touch()
    trial.remove_checkpoints()
    assert not trial.checkpoint.exists()

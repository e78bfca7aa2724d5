"""Checkpoints on any file system that fsspec knows (S3, GCS, Azure, HDFS, SFTP, …), beside those on local paths."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lightning_modules.callbacks.checkpoint_files import remove_checkpoint
from search.errors import StateError
from search.uris import masked, masked_text

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PAUSES_SECONDS = (0.5, 2.0, 8.0)  # many clients try again by themselves too

Result = TypeVar("Result")


class CheckpointStore:
    """A directory of checkpoints behind a URL.

    Args:
        url: fsspec URL of the directory, which need not exist (``s3://bucket/study/trial-0000``).
        pauses_seconds: After each of them, a store that did not answer is asked once more.

    Raises:
        StateError: If fsspec does not know the protocol, the package for it is missing, or the store is one to connect
            to (SFTP) and does not answer.
    """

    def __init__(self, url: str, *, pauses_seconds: Sequence[float] = _PAUSES_SECONDS) -> None:
        self._url = url
        self._pauses_seconds = tuple(pauses_seconds)
        self._files, self._root = self._try(self._open, doing="reach")

    def put(self, local: Path) -> None:
        """Upload a file under its own name, so that the one before it is there, whole, until this one is.

        Raises:
            StateError: If the store cannot be written, or `local` is a directory.
        """
        if local.is_dir():
            raise StateError(
                f"checkpoints: {local.name} is a directory here (sharded), which cannot replace another in one step "
                f"at {masked(self._url)}: keep checkpoints on a file system that all machines share."
            )
        self._try(lambda: self._put(local), doing="write")

    def get(self, name: str, local: Path) -> bool:
        """Download a file into the place of `local`; returns False, and removes `local`, if there is none.

        Raises:
            StateError: If the store cannot be read.
        """
        return self._try(lambda: self._get(name, local), doing="read")

    def has(self, name: str) -> bool:
        """Whether there is a file of that name.

        Raises:
            StateError: If the store cannot be read.
        """
        return self._try(lambda: self._has(name), doing="read")

    def remove(self, name: str) -> None:
        """Remove a file if it is there.

        Raises:
            StateError: If it is there and cannot be removed.
        """
        self._try(lambda: self._remove(name), doing="remove")

    def remove_all(self) -> None:
        """Remove the directory with all that is in it.

        Raises:
            StateError: If it cannot be removed.
        """
        self._try(self._remove_all, doing="remove")

    def check(self) -> None:
        """Write and remove a small file.

        Raises:
            StateError: If that does not work.
        """
        name = f"{self._root}/zeroin-check-{uuid.uuid4().hex}"
        self._try(lambda: self._write_and_remove(name), doing="write")

    def _open(self) -> tuple[AbstractFileSystem, str]:
        from fsspec.core import url_to_fs  # only those who name a URL pay for it

        try:
            files, root = url_to_fs(self._url)
        except (ImportError, ValueError) as error:  # trying again does not help
            text = masked_text(str(error), self._url)
            raise StateError(f"checkpoints: {masked(self._url)} cannot be used: {text}") from error
        return files, root

    def _put(self, local: Path) -> None:
        # Object stores put an object in one step, other file systems rename in one; after a copy, both have it whole.
        final, temporary = f"{self._root}/{local.name}", f"{self._root}/{local.name}.{uuid.uuid4().hex}.tmp"
        self._files.makedirs(self._root, exist_ok=True)
        try:
            self._files.put_file(str(local), temporary)
            self._files.mv(temporary, final)
        except BaseException:
            if self._files.exists(temporary):
                self._files.rm_file(temporary)
            raise

    def _get(self, name: str, local: Path) -> bool:
        # Each rank of a group may do so at the same time.
        temporary = local.with_name(f"{local.name}.{uuid.uuid4().hex}.tmp")
        self._files.invalidate_cache()
        try:
            with self._files.open(f"{self._root}/{name}", "rb") as source, temporary.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            temporary.replace(local)
        except FileNotFoundError:
            remove_checkpoint(local)
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _has(self, name: str) -> bool:
        self._files.invalidate_cache()
        return bool(self._files.exists(f"{self._root}/{name}"))

    def _remove(self, name: str) -> None:
        path = f"{self._root}/{name}"
        self._files.invalidate_cache()
        if self._files.exists(path):
            self._files.rm_file(path)

    def _remove_all(self) -> None:
        self._files.invalidate_cache()
        if self._files.exists(self._root):
            self._files.rm(self._root, recursive=True)

    def _write_and_remove(self, name: str) -> None:
        self._files.makedirs(self._root, exist_ok=True)
        self._files.pipe_file(name, b"zeroin")
        self._files.rm_file(name)

    def _try(self, action: Callable[[], Result], *, doing: str) -> Result:
        pauses_seconds = iter(self._pauses_seconds)
        while True:
            try:
                return action()
            except StateError:
                raise
            except Exception as error:  # every protocol has errors of its own
                pause_seconds = next(pauses_seconds, None)
                if pause_seconds is None:
                    text = masked_text(str(error), self._url).partition("\n")[0]
                    raise StateError(
                        f"checkpoints: cannot {doing} {masked(self._url)}: {type(error).__name__}: {text}"
                    ) from error
                time.sleep(pause_seconds)

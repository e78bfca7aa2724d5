"""Keep a trial's checkpoints behind a URL: what is on this machine's disk is a copy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_modules.callbacks.checkpoint_files import CHECKPOINT_NAME, SNAPSHOTS_NAME, WEIGHTS_NAME
from search.checkpoint_store import CheckpointStore


class CheckpointMirror:
    """The files of one trial; does nothing without a URL.

    Args:
        url: Of the trial's checkpoints; empty if they stay on the disk.

    Raises:
        StateError: If the URL cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._store = CheckpointStore(url) if url else None

    def fetch(self, path: Path) -> None:
        """Bring the file of that name, or remove a copy of one that is no more.

        Raises:
            StateError: If the store does not answer.
        """
        if self._store is not None:
            self._store.get(path.name, path)

    def publish(self, path: Path) -> None:
        """Upload a file.

        Raises:
            StateError: If the store does not take it.
        """
        if self._store is not None:
            self._store.put(path)


def fetched_members(
    urls: Sequence[str], directories: Sequence[str], into: Path, *, with_snapshots: bool = False
) -> list[Path]:
    """Return directories of this machine with the members' weights, downloaded if they are behind URLs.

    Args:
        urls: Of the members' checkpoints, or none.
        directories: Of the members, if there are no URLs.
        into: Where to download to; exists.
        with_snapshots: Whether they have kept further weights beside the final ones.

    Raises:
        StateError: If a store does not answer.
    """
    if not urls:
        return [Path(each) for each in directories]
    members = [into / f"member-{index}" for index in range(len(urls))]
    for url, member in zip(urls, members, strict=True):
        member.mkdir()
        store = CheckpointStore(url)
        if not store.get(WEIGHTS_NAME, member / WEIGHTS_NAME):
            store.get(CHECKPOINT_NAME, member / CHECKPOINT_NAME)
        if with_snapshots:
            store.get(SNAPSHOTS_NAME, member / SNAPSHOTS_NAME)
    return members

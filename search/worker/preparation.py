"""Let the workers of a machine prepare data one after another: one downloads, the others find what is there."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities.model_helpers import is_overridden

from lightning_modules.callbacks.epoch_seeding import replace_method
from search.worker.assembly import Assembled


@contextmanager
def preparing_in_turn(assembled: Assembled) -> Iterator[None]:
    """Have ``prepare_data`` of the module and of the data module wait for its turn, in the block.

    Lightning calls it in one process of a trial, and does not know that other workers may be about to as well. Those of
    other users are not waited for.
    """
    with ExitStack() as undoing:
        for owner in (assembled.data, assembled.model):
            if owner is not None and is_overridden("prepare_data", owner):
                undoing.callback(replace_method(owner, "prepare_data", _in_turn))
        yield


def lock_path() -> Path:
    """File that is locked by who prepares data."""
    return Path(tempfile.gettempdir()) / f"zeroin-prepare-data-{os.getuid()}.lock"


def _in_turn(prepare_data: Callable[[], Any]) -> Any:
    try:
        descriptor = os.open(lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return prepare_data()  # a lock only saves the others from half a download
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        return prepare_data()
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process that was forked meanwhile holds it too
        os.close(descriptor)

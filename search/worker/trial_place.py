"""Where a trial's files are on the machine that trains it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from search.checkpoint_store import CheckpointStore
from search.errors import StateError
from search.messages import Cause, TrialAssignment, TrialEnded
from search.worker.process_group import this_group
from search.worker.scratch_directory import scratch_directory

OUTPUT_NAME = "output.log"


@contextmanager
def trial_place(assignment: TrialAssignment) -> Iterator[TrialAssignment]:
    """Give the assignment a directory of this machine, if its own is on another one and its checkpoints go to a URL.

    What the training prints there, rank 0's of a group, is kept beside the checkpoints when it is over.

    Yields:
        The assignment, with a directory that exists unless it must be shared and is not (`is_missing`).
    """
    if not assignment.checkpoints or Path(assignment.directory).is_dir():
        yield assignment
        return
    with scratch_directory() as directory:
        try:
            yield replace(assignment, directory=str(directory))
        finally:
            if this_group().rank == 0:
                with suppress(StateError, OSError):  # it is no more than what was printed
                    CheckpointStore(assignment.checkpoints).put(directory / OUTPUT_NAME)


def is_missing(assignment: TrialAssignment) -> bool:
    """Whether the trial cannot be trained for want of its directory."""
    return not Path(assignment.directory).is_dir()


def told_as_missing(assignment: TrialAssignment) -> TrialEnded:
    """Say so."""
    return TrialEnded(
        trial_key=assignment.trial_key,
        n_epochs=assignment.n_epochs_reported,
        stopped_by_module=False,
        error=(
            f"{socket.gethostname()} does not see {assignment.directory}: workers on other machines need "
            "the state directory (ZEROIN_HOME) on a file system that they share, or `checkpoints:` with a URL."
        ),
        traceback="",
        notices=(),
        cause=Cause.STORAGE,
    )

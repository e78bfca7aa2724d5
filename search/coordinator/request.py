"""What one worker is asked, apart from trials, and how the user is told of workers that were lost over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from search.engines.engine import WorkerLost
from search.errors import StudyFailedError
from search.messages import FromWorker, ToWorker

MOST_RETRIES = 2
"""How often a trial, or a request, that a worker was lost over is given to another one."""

Reply = TypeVar("Reply", bound=FromWorker)


def _nothing() -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Generic[Reply]):
    """A message that has one answer.

    Attributes:
        message: To the worker.
        reply: Type of the answer.
        doing: What it is for, for messages (``the model was tried out``).
        remedy: What to do once the cause of the lost workers is mended, a sentence.
        notify: Told that a worker was lost and that another one is asked.
        before_each: Called before every sending, repetitions too.
        interruptible: Whether the first Ctrl-C gives up; else an answer under way is waited for, and the second one
            stops.
    """

    message: ToWorker
    reply: type[Reply]
    doing: str
    remedy: str
    notify: Callable[[str], None]
    before_each: Callable[[], None] = _nothing
    interruptible: bool

    def lost(self, worker: WorkerLost, *, n_losses: int) -> None:
        """Say that a worker was lost over it, with what it printed.

        Args:
            worker: The latest one.
            n_losses: Workers lost over it so far, >= 1.

        Raises:
            StudyFailedError: If it is not to be repeated any more.
        """
        what = f"{worker.reason}, while {self.doing}"
        printed = f" What it printed:\n{worker.output}" if worker.output else ""
        if n_losses > MOST_RETRIES:
            raise StudyFailedError(f"{what}; given up after {n_losses} attempts.{printed}\n{self.remedy}")
        self.notify(f"{what}; it is repeated (attempt {n_losses + 1} of {MOST_RETRIES + 1}).{printed}")

"""Turn what the ranks of a group say into what one worker says; pure, for any engine.

A group speaks with the voice of its rank 0. It is ready, and done with an order, when all of its ranks are. If one of
them raises, its error is the group's answer, and the group is spent: the others may wait in a collective operation for
the one that left it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from search.messages import (
    EpochReport,
    Farewell,
    FromWorker,
    Heartbeat,
    InspectionResult,
    Notice,
    PackageResult,
    TestResult,
    TrialEnded,
    Views,
    WorkerReady,
)

Answer: TypeAlias = InspectionResult | TrialEnded | TestResult | PackageResult | Views
"""What every rank sends once for each order."""

ERROR_GRACE_SECONDS = 0.5
"""How long an error waits to be told: a rank whose peer was killed raises too, and the death is what counts."""


@dataclass(slots=True)
class RankMerging:
    """The messages of one group.

    Attributes:
        n_ranks: Ranks of the group, >= 1.
    """

    n_ranks: int
    _ready: dict[int, WorkerReady] = field(default_factory=dict, init=False)
    _answers: dict[int, Answer] = field(default_factory=dict, init=False)
    _error: Answer | None = field(default=None, init=False)
    _error_at: float = field(default=0.0, init=False)

    def add(self, rank: int, message: FromWorker, *, now: float) -> FromWorker | None:
        """Return what the group says when `rank` has said `message`, None if nothing (yet).

        Args:
            rank: In ``range(n_ranks)``.
            message: What it said.
            now: Seconds on any clock, the same for every call.
        """
        if isinstance(message, Heartbeat):
            return None  # an engine watches every rank's by itself
        if self.n_ranks == 1:
            return message
        if isinstance(message, WorkerReady):
            self._ready[rank] = message
            return self._merged_ready() if len(self._ready) == self.n_ranks else None
        if isinstance(message, Farewell):
            return replace(message, reason=f"rank {rank} of {self.n_ranks}: {message.reason}")
        if isinstance(message, EpochReport | Notice):
            return message if rank == 0 else None
        if self._error is not None:
            return None
        if message.error:
            self._error, self._error_at = _of_rank(message, rank, self.n_ranks), now
            return None
        self._answers[rank] = message
        return self._merged_answer() if len(self._answers) == self.n_ranks else None

    def overdue_error(self, *, now: float) -> FromWorker | None:
        """Return the answer of the rank that raised, if one has and nobody can have died of something else by now."""
        return self._error if now - self._error_at >= ERROR_GRACE_SECONDS else None

    def _merged_ready(self) -> WorkerReady:
        first = self._ready[0]
        devices = [self._ready[rank].device for rank in range(self.n_ranks)]
        return replace(first, device=_in_words(devices))

    def _merged_answer(self) -> Answer:
        answers, self._answers = self._answers, {}
        notices = dict.fromkeys(notice for rank in sorted(answers) for notice in answers[rank].notices)
        return replace(answers[0], notices=tuple(notices))


def _of_rank(answer: Answer, rank: int, n_ranks: int) -> Answer:
    """Say in the traceback whose it is."""
    if not answer.traceback:
        return answer
    return replace(answer, traceback=f"rank {rank} of {n_ranks}:\n{answer.traceback}")


def _in_words(devices: list[str]) -> str:
    return ", ".join(f"{count} x {device}" for device, count in Counter(devices).items())

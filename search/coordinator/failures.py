"""Which failed trials tell that their hyperparameters cannot be trained."""

from __future__ import annotations

from search.coordinator.failure_streak import FIRST_FAILURES, AlikeFailures, failure_kind
from search.trial import TrialRecord, TrialState


class Failures:
    """Looks for what a study's failed trials have failed for.

    What stops a study says nothing about hyperparameters: failures before any success, and alike ones in a row that is
    no chance. They had the user's code in common, which has been mended if the study goes on. Nor does a trial that
    continues another one, which was trained before.
    """

    def __init__(self) -> None:
        self._alike = AlikeFailures()
        self._continuing: set[int] = set()

    def ended(self, record: TrialRecord) -> None:
        """Take note of a search trial that has ended."""
        assert record.number is not None
        is_failed = record.state is TrialState.FAILED
        self._alike.add(record.number, failure_kind(record) if is_failed else "")
        if is_failed and record.continues:
            self._continuing.add(record.number)

    @property
    def telling(self) -> tuple[int, ...]:
        """Numbers of the trials that failed for their hyperparameters, as far as can be told, ascending."""
        first = self._alike.first()
        silent = {*self._continuing, *(first if len(first) >= FIRST_FAILURES else ())}
        return tuple(
            number for number in self._alike.failed if number not in silent and not self._alike.row(number).is_no_chance
        )

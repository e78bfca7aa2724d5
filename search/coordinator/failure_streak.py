"""Whether trials fail for what they have in common: the user's code, not their hyperparameters."""

from __future__ import annotations

import re

from search.trial import TrialRecord, TrialState
from search.users_traceback import raising_place

_FAILURES_BEFORE_ANY_SUCCESS = 3
_ALIKE_FAILURES_IN_A_ROW = 5
_CHANCE = 1e-6  # of so long a streak at any place, were trials to fail independently as often as the others have


class FailureStreak:
    """Looks for failures in a row, in the order in which the trials began.

    The order in which they end says nothing: of many that run at a time, the few that raise at once are the first.
    Only the trials of this session count: after the code has been mended, earlier failures do not stop a resumed study.
    A single configuration that raises never stops one.

    Args:
        has_succeeded: Whether an earlier session had a trial that did not fail.
    """

    def __init__(self, *, has_succeeded: bool) -> None:
        self._has_succeeded = has_succeeded
        self._kinds: dict[int, str] = {}  # of the trials that have ended, by number; empty for one that did not fail

    def ended(self, record: TrialRecord, *, first_unfinished: int | None) -> str:
        """Take note of a trial that has ended; return why the study should stop, or an empty string.

        Args:
            record: A search trial.
            first_unfinished: The lowest number of those that have begun and not ended, None if there is none.
        """
        assert record.number is not None
        if record.state is not TrialState.FAILED:
            self._has_succeeded = True
            self._kinds[record.number] = ""
            return ""
        kind = self._kinds[record.number] = failure_kind(record)
        if not self._has_succeeded and self._are_first(first_unfinished):
            return f"all {len(self._kinds)} trials so far have failed"
        n_alike = 1
        for step in (-1, 1):
            neighbour = record.number + step
            while self._kinds.get(neighbour) == kind:
                n_alike += 1
                neighbour += step
        if n_alike >= _ALIKE_FAILURES_IN_A_ROW and self._is_no_chance(kind, n_alike):
            return f"{n_alike} trials in a row have failed in the same way"
        return ""

    def _is_no_chance(self, kind: str, n_alike: int) -> bool:
        """Whether the share of trials outside the streak that failed alike is too small to explain the streak.

        Some configurations may always raise in the same place, a layer without inputs for instance; where a third of
        them do, five in a row are nothing special.
        """
        n_others = len(self._kinds) - n_alike
        n_others_alike = sum(each == kind for each in self._kinds.values()) - n_alike
        return n_others_alike == 0 or ((n_others_alike + 1) / (n_others + 2)) ** n_alike <= _CHANCE

    def _are_first(self, first_unfinished: int | None) -> bool:
        """Whether enough of the failed trials began before any that is still under way."""
        earliest = sorted(self._kinds)[:_FAILURES_BEFORE_ANY_SUCCESS]
        is_enough = len(earliest) == _FAILURES_BEFORE_ANY_SUCCESS
        return is_enough and (first_unfinished is None or earliest[-1] < first_unfinished)


def failure_kind(record: TrialRecord) -> str:
    """Return the exception's type and the place that raised it; without a traceback, the reason less its figures."""
    place = raising_place(record.traceback)
    if place:
        return f"{record.reason.partition(':')[0]} at {place}"
    return re.sub(r"\d+", "#", record.reason)

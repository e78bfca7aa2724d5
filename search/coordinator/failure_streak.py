"""Whether trials fail for what they have in common: the user's code, not their hyperparameters."""

from __future__ import annotations

import re

from search.trial import TrialRecord, TrialState
from search.users_traceback import raising_place

_FAILURES_BEFORE_ANY_SUCCESS = 3
_ALIKE_FAILURES_IN_A_ROW = 5


class FailureStreak:
    """Counts failures in the order in which trials end.

    Only the trials of this session count: after the code has been mended, earlier failures do not stop a resumed study.
    A single configuration that raises never stops one.

    Args:
        has_succeeded: Whether an earlier session had a trial that did not fail.
    """

    def __init__(self, *, has_succeeded: bool) -> None:
        self._has_succeeded = has_succeeded
        self._n_failures = 0
        self._n_alike = 0
        self._kind = ""

    def ended(self, record: TrialRecord) -> str:
        """Take note of a trial that has ended; return why the study should stop, or an empty string."""
        if record.state is not TrialState.FAILED:
            self._has_succeeded = True
            self._n_alike = 0
            return ""
        kind = failure_kind(record)
        self._n_alike = self._n_alike + 1 if self._n_alike and kind == self._kind else 1
        self._kind = kind
        self._n_failures += 1
        if not self._has_succeeded and self._n_failures >= _FAILURES_BEFORE_ANY_SUCCESS:
            return f"all {self._n_failures} trials so far have failed"
        if self._n_alike >= _ALIKE_FAILURES_IN_A_ROW:
            return f"{self._n_alike} trials in a row have failed in the same way"
        return ""


def failure_kind(record: TrialRecord) -> str:
    """Return the exception's type and the place that raised it; without a traceback, the reason less its figures."""
    place = raising_place(record.traceback)
    if place:
        return f"{record.reason.partition(':')[0]} at {place}"
    return re.sub(r"\d+", "#", record.reason)

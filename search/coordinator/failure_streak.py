"""Whether trials fail for what they have in common: the user's code, not their hyperparameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile

from search.trial import TrialRecord, TrialState
from search.users_traceback import raising_place

FIRST_FAILURES = 3
"""Failures before any success that stop a study."""

_ALIKE_FAILURES_IN_A_ROW = 5
_CHANCE = 1e-6  # of so long a streak at any place, were trials to fail independently as often as the others have


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Failures alike of trials that began one after another.

    Attributes:
        length: How many.
        is_no_chance: Whether they failed for what they have in common, as far as can be told.
    """

    length: int
    is_no_chance: bool


class AlikeFailures:
    """Trials in the order in which they began, with how they failed if they did."""

    def __init__(self) -> None:
        self._kinds: dict[int, str] = {}

    def add(self, number: int, kind: str) -> None:
        """Take note of a trial that has ended; an empty kind is that of one that did not fail."""
        self._kinds[number] = kind

    @property
    def failed(self) -> list[int]:
        """Numbers of the failed trials, ascending."""
        return sorted(number for number, kind in self._kinds.items() if kind)

    def first(self) -> tuple[int, ...]:
        """Return the numbers of the trials that failed before any that did not, ascending."""
        return tuple(takewhile(lambda number: self._kinds[number], sorted(self._kinds)))

    def row(self, number: int) -> Row:
        """Return the row that a failed trial is part of."""
        kind = self._kinds[number]
        n_alike = 1
        for step in (-1, 1):
            neighbour = number + step
            while self._kinds.get(neighbour) == kind:
                n_alike += 1
                neighbour += step
        is_no_chance = n_alike >= _ALIKE_FAILURES_IN_A_ROW and self._is_no_chance(kind, n_alike)
        return Row(length=n_alike, is_no_chance=is_no_chance)

    def _is_no_chance(self, kind: str, n_alike: int) -> bool:
        """Whether the share of trials outside the row that failed alike is too small to explain the row.

        Some configurations may always raise in the same place, a layer without inputs for instance; where a third of
        them do, five in a row are nothing special.
        """
        n_others = len(self._kinds) - n_alike
        n_others_alike = sum(each == kind for each in self._kinds.values()) - n_alike
        return n_others_alike == 0 or ((n_others_alike + 1) / (n_others + 2)) ** n_alike <= _CHANCE


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
        self._alike = AlikeFailures()

    def ended(self, record: TrialRecord, *, first_unfinished: int | None) -> str:
        """Take note of a trial that has ended; return why the study should stop, or an empty string.

        Args:
            record: A search trial.
            first_unfinished: The lowest number of those that have begun and not ended, None if there is none.
        """
        assert record.number is not None
        if record.state is not TrialState.FAILED:
            self._has_succeeded = True
            self._alike.add(record.number, "")
            return ""
        self._alike.add(record.number, failure_kind(record))
        if not self._has_succeeded and self._are_first(first_unfinished):
            return f"all {len(self._alike.failed)} trials so far have failed"
        row = self._alike.row(record.number)
        return f"{row.length} trials in a row have failed in the same way" if row.is_no_chance else ""

    def _are_first(self, first_unfinished: int | None) -> bool:
        """Whether enough of the failed trials began before any that is still under way."""
        earliest = self._alike.failed[:FIRST_FAILURES]
        is_enough = len(earliest) == FIRST_FAILURES
        return is_enough and (first_unfinished is None or earliest[-1] < first_unfinished)


def failure_kind(record: TrialRecord) -> str:
    """Return the exception's type and the place that raised it; without a traceback, the reason less its figures."""
    place = raising_place(record.traceback)
    if place:
        return f"{record.reason.partition(':')[0]} at {place}"
    return re.sub(r"\d+", "#", record.reason)

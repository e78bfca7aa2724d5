"""When trials fail for what they have in common, and where the user's code raised."""

from __future__ import annotations

import json
import random
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from search.coordinator.failure_streak import FailureStreak, failure_kind
from search.trial import TrialRecord, TrialState
from search.users_traceback import raising_place, users_traceback


def ended(*, reason: str = "ValueError: no 7", state: TrialState = TrialState.FAILED, line: int = 4) -> TrialRecord:
    text = f'Traceback (most recent call last):\n  File "/home/me/net.py", line {line}, in forward\n    x\n{reason}'
    return TrialRecord(
        key="trial-0000",
        number=0,
        stage="only",
        hyperparameters={},
        seed=0,
        n_epochs=1,
        horizon_epochs=1,
        state=state,
        reason=reason,
        traceback=text if state is TrialState.FAILED else "",
        started_ms=0,
    )


GOOD = ended(state=TrialState.COMPLETE)


def stops_at(records: Sequence[TrialRecord], *, has_succeeded: bool) -> int | None:
    streak = FailureStreak(has_succeeded=has_succeeded)
    numbered = [replace(record, number=number) for number, record in enumerate(records)]
    return next((each.number + 1 for each in numbered if streak.ended(each, first_unfinished=None)), None)


def test_before_any_success_three_failures_of_any_kind_are_enough() -> None:
    assert stops_at([ended(line=line) for line in range(9)], has_succeeded=False) == 3
    assert stops_at([ended(line=line) for line in range(9)], has_succeeded=True) is None


def test_later_it_takes_five_of_one_kind_in_a_row() -> None:
    assert stops_at([GOOD, *[ended(reason=f"ValueError: no {n}") for n in range(9)]], has_succeeded=False) == 6
    assert stops_at([GOOD, ended(), ended(), ended(), ended(), GOOD] * 4, has_succeeded=False) is None
    assert stops_at([GOOD, *[ended(line=n % 2) for n in range(20)]], has_succeeded=False) is None


def test_a_configuration_that_raises_now_and_then_stops_nothing() -> None:
    assert stops_at([GOOD, ended(), GOOD] * 30, has_succeeded=False) is None


def test_where_a_third_of_all_configurations_raise_it_takes_a_longer_row() -> None:
    draws = random.Random(0)
    third = [GOOD, *[ended() if draws.random() < 1 / 3 else GOOD for _ in range(2000)]]
    assert "FFFFF" in "".join("F" if each.state is TrialState.FAILED else "." for each in third)
    assert stops_at(third, has_succeeded=False) is None
    row = stops_at([*third, GOOD, *[ended()] * 30], has_succeeded=False)
    assert row is not None
    assert 5 < row - len(third) - 1 < 20


def test_of_many_that_run_at_a_time_those_that_raise_at_once_stop_nothing() -> None:
    streak = FailureStreak(has_succeeded=False)
    failed = [replace(ended(), number=number) for number in range(1, 40, 2)]
    assert not any(streak.ended(each, first_unfinished=0) for each in failed)
    assert not streak.ended(replace(GOOD, number=0), first_unfinished=2)
    assert not any(
        streak.ended(replace(GOOD, number=number), first_unfinished=number + 2) for number in range(2, 40, 2)
    )


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (9, 1, 0, 5, 2)])
def test_the_first_three_that_began_stop_a_study_whatever_ends_first(order: Sequence[int]) -> None:
    streak = FailureStreak(has_succeeded=False)
    unfinished = set(range(12))
    stopped = []
    for number in order:
        unfinished.discard(number)
        stopped.append(bool(streak.ended(replace(ended(), number=number), first_unfinished=min(unfinished))))
    assert stopped == [False] * (len(order) - 1) + [True]


def test_a_row_is_one_whatever_ends_first() -> None:
    streak = FailureStreak(has_succeeded=True)
    order = (14, 10, 13, 11, 12)
    stopped = [bool(streak.ended(replace(ended(), number=number), first_unfinished=3)) for number in order]
    assert stopped == [False] * 4 + [True]


def test_pruned_diverged_and_stopped_trials_have_not_failed() -> None:
    states = (TrialState.PRUNED, TrialState.DIVERGED, TrialState.STOPPED, TrialState.STOPPED_EARLY)
    assert stops_at([ended(state=state) for state in states for _ in range(5)], has_succeeded=False) is None


def test_without_a_traceback_reasons_are_alike_but_for_their_figures() -> None:
    lost = [ended(reason=f"given up after {n} attempts; last: worker {n * 77} was killed") for n in (1, 2)]
    bare = [TrialRecord(**{**{name: getattr(each, name) for name in each.__slots__}, "traceback": ""}) for each in lost]
    assert failure_kind(bare[0]) == failure_kind(bare[1])


def raised() -> str:
    try:
        try:
            json.loads("{")
        except ValueError as error:
            raise RuntimeError("the user's") from error
    except RuntimeError as error:
        return "".join(traceback.format_exception(error))
    raise AssertionError


def test_only_the_users_own_frames_are_shown() -> None:
    text = raised()
    shown = users_traceback(text)
    assert "json/decoder.py" in text and "json/decoder.py" not in shown
    assert shown.count(f'File "{Path(__file__)}"') == 2
    assert "direct cause" in shown and shown.endswith("RuntimeError: the user's")
    assert raising_place(text).startswith(f"{Path(__file__)}:")


def test_an_exception_of_a_library_alone_keeps_its_innermost_frame() -> None:
    lines = [f'  File "/x/site-packages/lib/{name}.py", line 1, in f\n    pass' for name in ("outer", "inner")]
    text = "\n".join(["Traceback (most recent call last):", *lines, "ValueError: x", "  of several lines"])
    assert users_traceback(text) == "\n".join(
        ["Traceback (most recent call last):", lines[1], "ValueError: x", "  of several lines"]
    )
    assert raising_place(text) == "/x/site-packages/lib/inner.py:1"


@pytest.mark.parametrize("text", ["", "no traceback at all", "two\nlines"])
def test_what_is_no_traceback_stays_as_it_is(text: str) -> None:
    assert users_traceback(text) == text
    assert raising_place(text) == ""

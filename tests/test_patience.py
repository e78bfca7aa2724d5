from __future__ import annotations

import pytest

from search import patience as module
from search.patience import Patience, Patient


class AwayError(Exception):
    pass


class Store:
    """Is away for so many calls."""

    def __init__(self, n_failures: int) -> None:
        self.n_failures = n_failures
        self.n_calls = 0

    def answer(self, value: int, *, error: type[Exception] = AwayError) -> int:
        self.n_calls += 1
        if self.n_calls <= self.n_failures:
            raise error("away")
        return value


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits without taking time; the list has the seconds of each wait."""
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    monkeypatch.setattr(module.time, "monotonic", lambda: sum(waits))
    return waits


def patience(told: list[str], **options: object) -> Patience:
    settings: dict[str, object] = {
        "may_pass": lambda error: isinstance(error, AwayError),
        "patience_seconds": 60.0,
        "failure": lambda error: TimeoutError(str(error)),
        "notify": told.append,
    }
    return Patience("the store", **(settings | options))  # type: ignore[arg-type]


def test_a_short_absence_is_bridged_without_a_word(clock: list[float]) -> None:
    told: list[str] = []
    assert Patient(Store(2), patience=patience(told)).answer(5) == 5
    assert told == []


def test_a_long_one_is_told_once_and_its_end_once(clock: list[float]) -> None:
    told: list[str] = []
    assert Patient(Store(9), patience=patience(told)).answer(5) == 5
    assert told == [
        "the store does not answer; it is waited for, 60 s at most.",
        f"the store answers again, after {sum(clock):.0f} s; the study goes on.",
    ]
    assert max(clock) == 5.0


def test_one_that_stays_away_is_waited_for_once_only(clock: list[float]) -> None:
    store = Store(10_000)
    patient = Patient(store, patience=patience([]))
    with pytest.raises(TimeoutError, match="away"):
        patient.answer(5)
    assert 55.0 < sum(clock) <= 60.0
    n_calls = store.n_calls
    with pytest.raises(TimeoutError):  # the study ends, and closing it waits no more
        patient.answer(5)
    assert store.n_calls == n_calls + 1
    store.n_failures = 0
    assert patient.answer(5) == 5
    store.n_failures = store.n_calls + 3
    assert patient.answer(5) == 5  # it came back, so it is waited for again


def test_other_errors_go_through_at_once(clock: list[float]) -> None:
    with pytest.raises(KeyError):
        Patient(Store(1), patience=patience([])).answer(5, error=KeyError)
    assert clock == []


def test_who_interrupts_the_wait_does_not_wait_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", interrupted)
    store = Store(10_000)
    patient = Patient(store, patience=patience([]))
    with pytest.raises(KeyboardInterrupt):
        patient.answer(5)
    with pytest.raises(TimeoutError):
        patient.answer(5)
    assert store.n_calls == 2

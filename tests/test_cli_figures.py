"""How single figures are shown."""

from __future__ import annotations

import math

import pytest

from search.cli import figures


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (90_000, "1 d 1 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert figures.duration(seconds) == words


@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_a_duration_that_is_none(value: float) -> None:
    assert figures.duration(value) == figures.MISSING


@pytest.mark.parametrize(
    ("value", "shown"), [(0.98765, "0.9877"), (0.0, "0.0000"), (1.5e-5, "1.5e-05"), (12345.6, "1.235e+04")]
)
def test_metrics(value: float, shown: str) -> None:
    assert figures.metric(value) == shown

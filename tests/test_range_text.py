from __future__ import annotations

import pytest

from search.range_text import range_text
from search.search_space import Choices, Dimension, IntRange, LinearRange, LogRange, OneMinusLogRange, Range


@pytest.mark.parametrize(
    ("range_", "zero_share", "text"),
    [
        (LogRange(low=1e-5, high=1.0), 0.0, "[1e-05, 1]"),
        (LogRange(low=0.01, high=0.8), 0.1, "0 or [0.01, 0.8]"),
        (LogRange(low=0.000213456, high=0.00812345), 0.0, "[0.000213, 0.00812]"),
        (LinearRange(low=100.0, high=100.5), 0.0, "[100, 100.5]"),
        (OneMinusLogRange(low=0.5, high=0.999), 0.0, "[0.5, 0.999]"),
        (OneMinusLogRange(low=0.5, high=0.99968), 0.0, "[0.5, 0.9997]"),
        (OneMinusLogRange(low=0.0, high=0.99999), 0.0, "[0, 0.99999]"),
        (IntRange(low=1, high=123456), 0.0, "[1, 123456]"),
        (Choices(values=("sgd", "adamw")), 0.0, "sgd | adamw"),
        (Choices(values=(True, 2)), 0.0, "True | 2"),
    ],
)
def test_ranges_keep_as_many_digits_as_matter(range_: Range, zero_share: float, text: str) -> None:
    assert range_text(Dimension(name="x", range=range_, limits=range_, zero_share=zero_share)) == text

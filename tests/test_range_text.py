from __future__ import annotations

import pytest

from search.priors import ChoicePrior, NormalPrior, Prior
from search.range_text import prior_text, range_text
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
        (Choices(values=(1, "1", "a")), 0.0, "1 | '1' | a"),
    ],
)
def test_ranges_keep_as_many_digits_as_matter(range_: Range, zero_share: float, text: str) -> None:
    assert range_text(Dimension(name="x", range=range_, limits=range_, zero_share=zero_share)) == text


@pytest.mark.parametrize(
    ("range_", "prior", "text"),
    [
        (LogRange(low=1e-5, high=1.0), NormalPrior(mean=1e-3, spread=1.0), "0.001 ± 1 decade"),
        (OneMinusLogRange(low=0.5, high=0.999), NormalPrior(mean=0.9, spread=0.5), "0.9 ± 0.5 decades of 1 - x"),
        (IntRange(low=1, high=12), NormalPrior(mean=4.0, spread=2.0), "4 ± 2"),
        (Choices(values=("he", "normal")), ChoicePrior(shares=(("he", 0.6), ("normal", 0.4))), "he 0.6 | normal 0.4"),
        (LinearRange(low=0.0, high=1.0), None, ""),
    ],
)
def test_priors_are_told_in_their_own_unit(range_: Range, prior: Prior | None, text: str) -> None:
    assert prior_text(Dimension(name="x", range=range_, limits=range_, prior=prior)) == text

"""Ranges and priors in words, as decisions record them and every table shows them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from search.priors import ChoicePrior
from search.search_space import Choices, Dimension, IntLogRange, LogRange, NumericRange, OneMinusLogRange, Range, Value

_SHORTEST_DIGITS = 3
_EXACT_DIGITS = 17
_TOLERATED_SHARE = 0.01  # of the range's width on its own scale, lost to rounding


def range_text(dimension: Dimension) -> str:
    """Return the current range in words: ``[1e-05, 1]``, ``sgd | adamw``, ``0 or [0.01, 0.8]``."""
    if isinstance(dimension.range, Choices):
        return " | ".join(choice_texts(dimension.range.values).values())
    low, high = (number_text(bound, dimension.range) for bound in (dimension.range.low, dimension.range.high))
    return f"{'0 or ' if dimension.zero_share > 0.0 else ''}[{low}, {high}]"


def choice_texts(values: Sequence[Value]) -> dict[Value, str]:
    """Return each choice as it is shown: ``sgd``; in quotes, ``'1'``, where another one is spelled alike."""
    spelled = Counter(str(value) for value in values)
    return {value: str(value) if spelled[str(value)] == 1 else repr(value) for value in values}


def prior_text(dimension: Dimension) -> str:
    """Return where good values are expected, if anywhere: ``0.001 ± 1 decade``, ``4 ± 2``, ``he 0.6 | xavier 0.4``."""
    prior = dimension.prior
    if prior is None:
        return ""
    if isinstance(prior, ChoicePrior):
        return " | ".join(f"{value} {share:.3g}" for value, share in prior.shares)
    return f"{prior.mean:.6g} ± {prior.spread:.3g}{_spread_unit(dimension.limits, prior.spread)}"


def _spread_unit(range_: Range, spread: float) -> str:
    decades = " decade" if spread == 1.0 else " decades"
    match range_:
        case LogRange() | IntLogRange():
            return decades
        case OneMinusLogRange():
            return f"{decades} of 1 - x"
        case _:
            return ""


def number_text(value: float, range_: NumericRange) -> str:
    """Return `value` with as few digits as can tell it apart on the range: 1 % of its width on its scale.

    A momentum of 0.99951 keeps its digits on a one_minus_log range up to 0.9999, where rounding would give 1.
    """
    if isinstance(value, int):
        return str(value)
    tolerance = _TOLERATED_SHARE * (range_.scale(range_.high) - range_.scale(range_.low))
    for n_digits in range(_SHORTEST_DIGITS, _EXACT_DIGITS):
        text = f"{value:.{n_digits}g}"
        if _distance(float(text), value, range_) <= tolerance:
            return text
    return repr(value)


def _distance(rounded: float, value: float, range_: NumericRange) -> float:
    try:
        return abs(range_.scale(rounded) - range_.scale(value))
    except ValueError:  # rounded off the end of the scale, such as a momentum to 1
        return math.inf

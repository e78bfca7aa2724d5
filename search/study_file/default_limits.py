"""Hard limits of a range that the study file gives none for.

Ranges on log scales may move a decade a side, as far as the parameter's own domain allows; the others stay inside the
declared range. What a parameter's domain is, its name tells: see `DOMAINS`.
"""

from __future__ import annotations

import math
import re

from search.search_space import (
    LARGEST_INTEGER,
    Choices,
    IntLogRange,
    IntRange,
    LinearRange,
    LogRange,
    OneMinusLogRange,
    Range,
)

DOMAINS: tuple[tuple[str, float], ...] = (
    (r"dropout|drop_?(rate|prob|path|block)|stochastic_depth", 0.95),
    (r"label_smoothing", 0.95),
    (r"(^|_)(momentum|beta_?[0-9]?|beta_one|beta_two|ema_decay)$", 0.9999),
    (r"(^|_)(lr_decay|ratio|fraction|prob|probability|proportion)$", 1.0),
)
"""Pattern in the last part of a name, and the largest value that its default limits reach, in the order they are tried.

Drop probabilities of 1 train nothing, momentum of 1 never forgets; a decay ratio, fraction or probability ends at 1.
A declared range that goes further stays as it is declared; written `limits` are always obeyed.
"""


def domain_high(name: str) -> float:
    """Return the largest value that default limits reach for the dotted name, infinity if the name tells nothing."""
    last = name.rsplit(".", 1)[-1].lower()
    return next((high for pattern, high in DOMAINS if re.search(pattern, last)), math.inf)


def default_limits(name: str, declared: Range) -> Range:
    """Return the limits of a dimension whose file entry has none; they contain the declared range.

    Args:
        name: Dotted name of the dimension.
        declared: Its declared range.
    """
    cap = domain_high(name)
    match declared:
        case LogRange(low=low, high=high):
            lower = _tidy(low / 10.0)
            upper = min(_tidy(high * 10.0), cap)
            return LogRange(low=lower if 0.0 < lower < low else low, high=upper if high < upper < math.inf else high)
        case IntLogRange(low=low, high=high):
            return IntLogRange(
                low=max(1, min(low // 10, low)), high=max(high, int(min(high * 10, cap, LARGEST_INTEGER)))
            )
        case OneMinusLogRange(low=low, high=high):
            lower = max(0.0, 1.0 - _tidy((1.0 - low) * 10.0))
            upper = min(1.0 - _tidy((1.0 - high) / 10.0), cap)
            return OneMinusLogRange(low=min(lower, low), high=upper if high < upper < 1.0 else high)
        case LinearRange() | IntRange() | Choices():
            return declared


def _tidy(value: float) -> float:
    """Round to 12 significant digits, so that 1e-5 / 10 is 1e-6 and not 1.0000000000000002e-06."""
    return float(f"{value:.12g}")

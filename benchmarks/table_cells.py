"""What tables of runs are made of: lines of Markdown, means with their intervals, tests of paired differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t, wilcoxon


def line(*cells: str) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


def header(*cells: str) -> list[str]:
    """Return a table's first two lines."""
    return [line(*cells), line(*("---" for _ in cells))]


def interval(values: Sequence[float] | NDArray[np.float64], *, n_decimals: int) -> str:
    """Return the mean of one value or more, with half the width of its confidence interval if there are several."""
    mean = f"{np.mean(values):.{n_decimals}f}"
    return mean if len(values) < 2 else f"{mean} ± {half_width(values):.{n_decimals}f}"


def half_width(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Return half the width of the mean's 95 % confidence interval by Student's t, of at least two values."""
    n = len(values)
    return float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))


def p_value(differences: NDArray[np.float64]) -> float:
    """Return p of the two-sided Wilcoxon signed-rank test, 1 if nothing differs."""
    return float(wilcoxon(differences).pvalue) if np.any(differences) else 1.0

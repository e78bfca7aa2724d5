"""Where good values of a hyperparameter are expected before any trial, by its user."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from search.errors import SearchSpaceError


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalPrior:
    """A normal distribution on the range's own scale.

    Attributes:
        mean: Where it is centred, finite, in the hyperparameter's own unit.
        spread: Its standard deviation, > 0 and finite: in decades of the value on a log scale, of 1 - x on a
            one_minus_log scale, else in the hyperparameter's own unit.

    Raises:
        SearchSpaceError: If `mean` is not finite or `spread` is not positive.
    """

    mean: float
    spread: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 0.0 < self.spread < math.inf):
            raise SearchSpaceError(f"a finite mean and `0 < spread < inf` must hold on a prior, but got {self!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoicePrior:
    """How probable each value of a choice is.

    Attributes:
        shares: Each value with its probability, >= 0; they sum to 1.

    Raises:
        SearchSpaceError: If the probabilities are none, or a value is there twice.
    """

    shares: tuple[tuple[float | int | str | bool, float], ...]

    def __post_init__(self) -> None:
        values = [value for value, _ in self.shares]
        if any(value in values[:index] for index, value in enumerate(values)):
            raise SearchSpaceError(f"the values of a prior must be distinct, but got {values!r}.")
        total = math.fsum(share for _, share in self.shares)
        if not (all(share >= 0.0 for _, share in self.shares) and math.isclose(total, 1.0, abs_tol=1e-6)):
            raise SearchSpaceError(f"the shares of a prior must be >= 0 and sum to 1, but got {self.shares!r}.")

    def share(self, value: float | int | str | bool) -> float:
        """Return the probability of a value, 0 for one that is not there."""
        return next((share for known, share in self.shares if known == value), 0.0)


Prior: TypeAlias = NormalPrior | ChoicePrior

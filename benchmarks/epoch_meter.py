"""The account of a run: epochs spent, and the best training that was known at each moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from quality_surface import Number, Point, Surface


class BudgetSpentError(Exception):
    """All epochs of the budget have been trained."""


@dataclass(slots=True, kw_only=True)
class EpochMeter:
    """Counts every epoch that any method trains, and says what it showed.

    The incumbent is the best value observed so far; it is judged by what the same epoch shows without noise.

    Attributes:
        surface: What is trained on.
        budget_epochs: Epochs in all, >= 1.
        from_scratch: Whether a training that goes on from a checkpoint pays for the epochs up to there once more.
        n_spent: Epochs so far.
        improvements: Epochs spent at each new incumbent and its normalized regret.
    """

    surface: Surface
    budget_epochs: int
    from_scratch: bool = False
    n_spent: int = 0
    improvements: list[tuple[int, float]] = field(default_factory=list)
    _best: float = float("-inf")
    _curves: dict[tuple[tuple[str, Number], ...], tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)

    def go_on(self, *, n_epochs: int) -> None:
        """Account for a training that goes on from its checkpoint.

        Args:
            n_epochs: Epochs up to there, >= 0.

        Raises:
            BudgetSpentError: If repeating them takes all that is left.
        """
        if self.from_scratch:
            self.n_spent += n_epochs
            if self.n_spent >= self.budget_epochs:
                self.n_spent = self.budget_epochs
                raise BudgetSpentError

    def train(self, point: Point, epoch: int) -> float:
        """Train one epoch and return what it shows.

        Args:
            point: Hyperparameters of the training.
            epoch: Which of its epochs, counted from 1.

        Raises:
            BudgetSpentError: If none is left.
        """
        if self.n_spent >= self.budget_epochs:
            raise BudgetSpentError
        self.n_spent += 1
        shown, true = self._curves_of(point)
        value = shown[epoch - 1]
        if value > self._best:
            self._best = value
            self.improvements.append((self.n_spent, self.surface.normalized_regret(true[epoch - 1])))
        return value

    def regret_after(self, n_epochs: int) -> float:
        """Return the incumbent's normalized regret after so many epochs, >= 1."""
        return self.improvements[bisect_right(self.improvements, n_epochs, key=lambda each: each[0]) - 1][1]

    def _curves_of(self, point: Point) -> tuple[Sequence[float], Sequence[float]]:
        key = tuple(sorted(point.items()))
        if key not in self._curves:
            self._curves[key] = self.surface.curve(point), self.surface.true_curve(point)
        return self._curves[key]

"""The metric that trials are compared by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from search.study_definition import Direction
from search.trial import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredMetric:
    """The monitored metric.

    Attributes:
        name: As the module logs it.
        direction: Whether more of it is better.
    """

    name: str
    direction: Direction

    @property
    def worse(self) -> str:
        """``below`` or ``above``, where a worse value lies."""
        return "below" if self.direction is Direction.MAXIMIZE else "above"

    def finite_values(self, record: TrialRecord) -> dict[int, float]:
        """Return its finite values by epoch, in the order of the epochs."""
        values = enumerate(record.curve(self.name), start=1)
        return {epoch: value for epoch, value in values if math.isfinite(value)}

    def best(self, values: Mapping[int, float]) -> float:
        """Return the best of at least one finite value."""
        return max(values.values(), key=lambda value: self.direction.sign * value)

    def is_worse(self, value: float, than: float) -> bool:
        """Whether a finite value is worse than another."""
        return self.direction.sign * (than - value) > 0.0

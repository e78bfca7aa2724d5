"""What trials are compared by: the reward of each epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lightning_modules.callbacks.metric_names import gap_name
from search.reward import penalized, score
from search.study_definition import Direction, Objective
from search.trial import TrialRecord, TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRewards:
    """The monitored metric, less the penalty on its generalization gap: what a trial's reward is made of.

    Attributes:
        objective: What is optimized.
    """

    objective: Objective

    @property
    def direction(self) -> Direction:
        """Whether more is better."""
        return self.objective.direction

    @property
    def word(self) -> str:
        """What a trial stands at, in messages: its ``best`` value, or its ``reward`` where the gap costs something."""
        return "reward" if self.objective.gap_weight > 0.0 else "best"

    @property
    def worse(self) -> str:
        """``below`` or ``above``, where a worse reward lies."""
        return "below" if self.direction is Direction.MAXIMIZE else "above"

    def of(self, record: TrialRecord) -> dict[int, float]:
        """Return the reward of each epoch by itself, in their order; of those where it is finite."""
        values, gaps = record.curve(self.objective.monitor), record.curve(gap_name(self.objective.monitor))
        rewards = {
            epoch: penalized(value, gap, self.objective)
            for epoch, (value, gap) in enumerate(zip(values, gaps, strict=True), start=1)
        }
        return {epoch: reward for epoch, reward in rewards.items() if math.isfinite(reward)}

    def so_far(self, record: TrialRecord) -> dict[int, float]:
        """Return the trial's reward as it stood after each of these epochs: that of the best metric by then."""
        values, rewards = record.curve(self.objective.monitor), self.of(record)
        found: dict[int, float] = {}
        best = -math.inf
        standing = math.nan
        for epoch, reward in rewards.items():
            value = self.direction.sign * values[epoch - 1]
            if value > best:
                best, standing = value, reward
            found[epoch] = standing
        return found

    def is_worse(self, reward: float, than: float) -> bool:
        """Whether a finite reward is worse than another."""
        return self.direction.sign * (than - reward) > 0.0

    def is_rival(self, record: TrialRecord) -> bool:
        """Whether a trial breaks no constraint so far: who does is nobody's rival, however good its reward."""
        if not self.objective.constraints:
            return True
        standing = score(replace(record, state=TrialState.RUNNING), self.objective)  # a failed one has none
        return standing is None or standing.violation == 0.0

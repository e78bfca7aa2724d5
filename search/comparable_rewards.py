"""Rewards of trials that trained for different numbers of epochs, brought to one number of epochs.

A trial of the first stage stops after a few epochs, one of the last stage after many; ranking their rewards as they are
would only tell who trained longer. Each trial therefore gets the gain that trials of the same schedule horizon
typically made from its number of epochs to the longest one::

    comparable = reward(e) + median over longer trials of (reward(T) - reward(e))

where ``reward(e)`` is the reward as it stood after e epochs and T the most epochs that any trial of that horizon was
given and used. The median keeps one odd curve from deciding. A trial that stopped early counts as having trained to
its last epoch, because its curve was flat. Within equal epochs the order never changes; where nothing longer is known
nothing is added.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from search.reward import score
from search.search_space import Hyperparameters
from search.study_definition import Direction, Objective
from search.trial import FinishedTrial, TrialRecord, TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What samplers and narrowing learn from one finished trial.

    Attributes:
        number: The trial's number in the study.
        stage: The stage that it belongs to.
        hyperparameters: Its searched values, active dimensions only.
        reward: Comparable reward, finite; diverged trials lie below (above, if minimizing) all others.
        diverged: Whether it diverged, or never had a finite value.
    """

    number: int
    stage: str
    hyperparameters: Hyperparameters
    reward: float
    diverged: bool = False

    def __post_init__(self) -> None:
        assert math.isfinite(self.reward), f"trial {self.number} has the reward {self.reward!r}"


def comparable_observations(finished: Iterable[FinishedTrial], *, objective: Objective) -> tuple[Observation, ...]:
    """Return what the finished trials teach, in the order of their numbers; failed ones teach nothing.

    Args:
        finished: Search trials of any stages (those without a number are left out).
        objective: What is optimized.
    """
    scored = [trial for trial in finished if trial.score is not None and trial.record.number is not None]
    horizons = {trial.record.horizon_epochs for trial in scored}
    gains = {
        horizon: _TypicalGain([trial for trial in scored if trial.record.horizon_epochs == horizon], objective)
        for horizon in horizons
    }
    rewards = {
        trial.record.number: reward + gains[trial.record.horizon_epochs].after(_effective_epochs(trial.record))
        for trial in scored
        if math.isfinite(reward := _reward(trial))
    }
    worst = _worse_than_all(list(rewards.values()), objective.direction)
    return tuple(
        Observation(
            number=number,
            stage=trial.record.stage,
            hyperparameters=trial.record.hyperparameters,
            reward=rewards.get(number, worst),
            diverged=number not in rewards,
        )
        for trial in sorted(scored, key=lambda trial: trial.record.number or 0)
        if (number := trial.record.number) is not None
    )


class _TypicalGain:
    """Median gain from e epochs to the longest training among trials of one schedule horizon."""

    def __init__(self, trials: Sequence[FinishedTrial], objective: Objective) -> None:
        usable = [trial for trial in trials if math.isfinite(_reward(trial))]
        self._target_epochs = max((_effective_epochs(trial.record) for trial in usable), default=0)
        self._longest = [trial for trial in usable if _effective_epochs(trial.record) == self._target_epochs]
        self._objective = objective
        self._known: dict[int, float] = {}

    def after(self, n_epochs: int) -> float:
        """Return the gain still to come after `n_epochs`; 0 where no longer trial tells."""
        if n_epochs not in self._known:
            self._known[n_epochs] = self._measure(n_epochs) if n_epochs < self._target_epochs else 0.0
        return self._known[n_epochs]

    def _measure(self, n_epochs: int) -> float:
        gains = [
            _reward(trial) - earlier
            for trial in self._longest
            if math.isfinite(earlier := _reward_after(trial.record, n_epochs, self._objective))
        ]
        return statistics.median(gains) if gains else 0.0


def _reward(trial: FinishedTrial) -> float:
    return math.nan if trial.score is None else trial.score.reward


def _effective_epochs(record: TrialRecord) -> int:
    return record.n_epochs if record.state is TrialState.STOPPED_EARLY else len(record.epochs)


def _reward_after(record: TrialRecord, n_epochs: int, objective: Objective) -> float:
    cut = replace(record, epochs=record.epochs[:n_epochs], state=TrialState.RUNNING)
    earlier = score(cut, objective)
    return math.nan if earlier is None else earlier.reward


def _worse_than_all(rewards: Sequence[float], direction: Direction) -> float:
    """Return a finite reward worse than all of `rewards`, by as much as they differ among themselves."""
    if not rewards:
        return 0.0
    margin = (max(rewards) - min(rewards)) or max(abs(rewards[0]), 1.0)
    return (min(rewards) if direction is Direction.MAXIMIZE else max(rewards)) - direction.sign * margin

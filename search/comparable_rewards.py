"""Rewards of trials that trained for different numbers of epochs, brought to one number of epochs.

A trial of the first stage stops after a few epochs, one of the last stage after many; ranking their rewards as they are
would only tell who trained longer. Each trial therefore gets the gain that trials of the same schedule horizon
typically made from its number of epochs to the longest one::

    comparable = reward(e) + median over longer trials of (reward(T) - reward(e))

where ``reward(e)`` is the reward as it stood after e epochs and T the most epochs that any trial of that horizon was
given and used. The median keeps one odd curve from deciding. A trial that stopped early counts as having trained to
its last epoch, because its curve was flat. Within equal epochs the order never changes; where nothing longer is known
nothing is added.

What is known grows trial by trial, and so does what is kept here: trials of the same horizon and epochs stay in one
order for ever, and one median moves them all. A question costs as much as its answer is long, however many trials
there are.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias

from search.reward import score
from search.search_space import Hyperparameters, SearchSpace
from search.study_definition import Direction, Objective
from search.trial import FinishedTrial, TrialRecord, TrialState

_Group: TypeAlias = tuple[int, int]  # schedule horizon and effective epochs
_Gain: TypeAlias = Callable[[_Group], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What samplers and narrowing learn from one finished trial.

    Attributes:
        number: The trial's number in the study.
        stage: The stage that it belongs to.
        hyperparameters: Its searched values, active dimensions only.
        reward: Comparable reward, finite; diverged trials lie below (above, if minimizing) all others.
        diverged: Whether it diverged, or never had a finite value.
        is_outside: Whether it was sampled outside its stage's ranges on purpose.
        course: Rewards as they stood after so many epochs, the last one at its end; empty for a diverged trial.
    """

    number: int
    stage: str
    hyperparameters: Hyperparameters
    reward: float
    diverged: bool = False
    is_outside: bool = False
    course: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        assert math.isfinite(self.reward), f"trial {self.number} has the reward {self.reward!r}"


def comparable_observations(finished: Iterable[FinishedTrial], *, objective: Objective) -> tuple[Observation, ...]:
    """Return what the finished trials teach, in the order of their numbers; failed ones teach nothing.

    Args:
        finished: Search trials of any stages (those without a number are left out).
        objective: What is optimized.
    """
    rewards = ComparableRewards(objective)
    for trial in sorted(finished, key=lambda each: -1 if each.record.number is None else each.record.number):
        rewards.add(trial)
    return rewards.observations()


class ComparableRewards:
    """The comparable rewards of a study's finished trials, kept as trials finish.

    A trial and the one that continues it are one observation, that of the longer training.

    Args:
        objective: What is optimized.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._sign = objective.direction.sign
        self._trials: dict[int, FinishedTrial] = {}
        self._numbers: dict[str, int] = {}
        self._gains: dict[int, _TypicalGain] = {}
        self._half_way: dict[int, float] = {}
        self._all = _Ranking(self._sign)
        self._box: tuple[SearchSpace, _Ranking] | None = None

    def add(self, trial: FinishedTrial) -> None:
        """Take note of a trial, once, after the one that it continues.

        A failed one, and one outside the search, teaches nothing.
        """
        number = trial.record.number
        if trial.score is None or number is None:
            return
        assert number not in self._trials, f"trial {number} was added before"
        continued = self._trials.get(self._numbers.get(trial.record.continues, -1))
        if continued is not None:
            if not trial.record.supersedes(continued.record):
                return
            self._remove(continued)
        self._trials[number] = trial
        self._numbers[trial.record.key] = number
        if math.isfinite(_reward(trial)):
            horizon = trial.record.horizon_epochs
            self._gains.setdefault(horizon, _TypicalGain(self._objective)).add(trial)
        self._all.add(number, trial)
        if self._box is not None and self._box[0].contains(trial.record.hyperparameters):
            self._box[1].add(number, trial)

    def comparable(self, number: int) -> float:
        """Return the comparable reward of a trial whose reward is finite, and that no other one supersedes."""
        trial = self._trials[number]
        return _reward(trial) + self._gain(_group(trial.record))

    def observations(self) -> tuple[Observation, ...]:
        """Return all that the trials teach, in the order of their numbers."""
        return self._observed(sorted(self._trials))

    def informative(self, box: SearchSpace, *, at_most: int) -> tuple[Observation, ...]:
        """Return what the trials inside `box` teach, in the order of their numbers.

        Where there are more than `at_most`, these are the best half of so many and, of the others, the most recent.

        Args:
            box: Ranges; asked again for the same ones, it costs no more than the answer.
            at_most: Longest answer, >= 2.
        """
        ranking = self._inside(box)
        if len(ranking.numbers) <= at_most:
            return self._observed(ranking.numbers)
        chosen = set(islice(ranking.best_first(self._gain), at_most // 2))
        others = (number for number in reversed(ranking.numbers) if number not in chosen)
        return self._observed(sorted(chosen.union(islice(others, at_most - len(chosen)))))

    def n_inside(self, box: SearchSpace) -> int:
        """Return how many trials inside `box` teach something."""
        return len(self._inside(box).numbers)

    def _remove(self, trial: FinishedTrial) -> None:
        """Forget a trial as an observation; what it gained from epoch to epoch stays true."""
        number = self._numbers[trial.record.key]
        del self._trials[number]
        self._all.remove(number, trial)
        if self._box is not None and self._box[0].contains(trial.record.hyperparameters):
            self._box[1].remove(number, trial)

    def _inside(self, box: SearchSpace) -> _Ranking:
        if self._box is None or self._box[0] is not box:
            inside = _Ranking(self._sign)
            for number, trial in self._trials.items():
                if box.contains(trial.record.hyperparameters):
                    inside.add(number, trial)
            self._box = (box, inside)
        return self._box[1]

    def _observed(self, numbers: Iterable[int]) -> tuple[Observation, ...]:
        worst = self._worse_than_all()
        return tuple(self._observation(number, worst) for number in numbers)

    def _observation(self, number: int, worst: float) -> Observation:
        trial = self._trials[number]
        reward = _reward(trial)
        is_finite = math.isfinite(reward)
        return Observation(
            number=number,
            stage=trial.record.stage,
            hyperparameters=trial.record.hyperparameters,
            reward=reward + self._gain(_group(trial.record)) if is_finite else worst,
            diverged=not is_finite,
            is_outside=trial.record.is_outside,
            course=self._course(number, trial) if is_finite else (),
        )

    def _course(self, number: int, trial: FinishedTrial) -> tuple[tuple[int, float], ...]:
        """Return the reward half way, if the trial is the beginning of the longest ones, and at the end."""
        end = (_effective_epochs(trial.record), _reward(trial))
        n_half = len(trial.record.epochs) // 2
        if n_half < 1 or trial.record.horizon_epochs != max(self._gains):
            return (end,)
        if number not in self._half_way:
            self._half_way[number] = _reward_after(trial.record, n_half, self._objective)
        half_way = self._half_way[number]
        return ((n_half, half_way), end) if math.isfinite(half_way) else (end,)

    def _gain(self, group: _Group) -> float:
        horizon, n_epochs = group
        return self._gains[horizon].after(n_epochs)

    def _worse_than_all(self) -> float:
        """Return a finite reward worse than all others, by as much as they differ among themselves."""
        ends = self._all.ends(self._gain)
        if not ends:
            return 0.0
        low, high = min(ends), max(ends)
        margin = (high - low) or max(abs(low), 1.0)
        return (low if self._objective.direction is Direction.MAXIMIZE else high) - self._sign * margin


class _Ranking:
    """Trials in the order of their rewards, those of the same horizon and epochs apart from the others.

    Attributes:
        numbers: Of all trials, diverged ones too, in order.
    """

    def __init__(self, sign: float) -> None:
        self.numbers: list[int] = []
        self._sign = sign
        self._groups: dict[_Group, list[tuple[float, int]]] = {}

    def add(self, number: int, trial: FinishedTrial) -> None:
        insort(self.numbers, number)
        reward = _reward(trial)
        if math.isfinite(reward):
            insort(self._groups.setdefault(_group(trial.record), []), (-self._sign * reward, number))

    def remove(self, number: int, trial: FinishedTrial) -> None:
        del self.numbers[bisect_left(self.numbers, number)]
        reward = _reward(trial)
        if math.isfinite(reward):
            losses = self._groups[_group(trial.record)]
            del losses[bisect_left(losses, (-self._sign * reward, number))]
            if not losses:
                del self._groups[_group(trial.record)]

    def best_first(self, gain: _Gain) -> Iterator[int]:
        """Yield the numbers of the trials that did not diverge, best comparable reward first."""
        groups = [self._moved(losses, gain(group)) for group, losses in self._groups.items()]
        return (number for _, number in heapq.merge(*groups))

    def ends(self, gain: _Gain) -> list[float]:
        """Return the best and the worst comparable reward of each group."""
        return [
            -self._sign * loss + gain(group)
            for group, losses in self._groups.items()
            for loss, _ in (losses[0], losses[-1])
        ]

    def _moved(self, losses: list[tuple[float, int]], gain: float) -> Iterator[tuple[float, int]]:
        return ((loss - self._sign * gain, number) for loss, number in losses)


class _TypicalGain:
    """Median gain from e epochs to the longest training among trials of one schedule horizon."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._target_epochs = 0
        self._longest: list[FinishedTrial] = []
        self._gains: dict[int, list[float]] = {}  # ascending, by the number of epochs that they are counted from

    def add(self, trial: FinishedTrial) -> None:
        """Take note of a trial whose reward is finite."""
        n_epochs = _effective_epochs(trial.record)
        if n_epochs > self._target_epochs:
            self._target_epochs, self._longest = n_epochs, []
            self._gains.clear()
        if n_epochs == self._target_epochs:
            self._longest.append(trial)
            for earlier_epochs, gains in self._gains.items():
                self._count(trial, earlier_epochs, gains)

    def after(self, n_epochs: int) -> float:
        """Return the gain still to come after `n_epochs`; 0 where no longer trial tells."""
        if n_epochs >= self._target_epochs:
            return 0.0
        if n_epochs not in self._gains:
            gains = self._gains[n_epochs] = []
            for trial in self._longest:
                self._count(trial, n_epochs, gains)
        return _median(self._gains[n_epochs])

    def _count(self, trial: FinishedTrial, n_epochs: int, gains: list[float]) -> None:
        earlier = _reward_after(trial.record, n_epochs, self._objective)
        if math.isfinite(earlier):
            insort(gains, _reward(trial) - earlier)


def _median(ascending: list[float]) -> float:
    if not ascending:
        return 0.0
    middle = len(ascending) // 2
    return ascending[middle] if len(ascending) % 2 else (ascending[middle - 1] + ascending[middle]) / 2


def _group(record: TrialRecord) -> _Group:
    return record.horizon_epochs, _effective_epochs(record)


def _reward(trial: FinishedTrial) -> float:
    return math.nan if trial.score is None else trial.score.reward


def _effective_epochs(record: TrialRecord) -> int:
    return record.n_epochs if record.state is TrialState.STOPPED_EARLY else len(record.epochs)


def _reward_after(record: TrialRecord, n_epochs: int, objective: Objective) -> float:
    cut = replace(record, epochs=record.epochs[:n_epochs], state=TrialState.RUNNING)
    earlier = score(cut, objective)
    return math.nan if earlier is None else earlier.reward

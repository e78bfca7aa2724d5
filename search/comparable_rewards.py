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
there are (with further objectives, as much as sorting all trials in the ranges).

Whoever learns from the rewards need not know of constraints and further objectives: where a study has them, what an
observation has as its reward is its place among all. With constraints, a trial that breaks one lies below all that keep
them, the lower the more it breaks them; what it reached counts for nothing. With further objectives, whose values are
made comparable like the rewards, the place is that of `search.pareto`.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import TypeAlias

from search.constraint import violation
from search.pareto import best_first
from search.search_space import Hyperparameters, SearchSpace
from search.study_definition import Direction, Objective
from search.trial import FinishedTrial, Score, TrialRecord
from search.typical_gain import Reading, TypicalGain, effective_epochs, score_after

_Group: TypeAlias = tuple[int, int]  # schedule horizon and effective epochs
_Gain: TypeAlias = Callable[[_Group], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What samplers and narrowing learn from one finished trial.

    Attributes:
        number: The trial's number in the study.
        stage: The stage that it belongs to.
        hyperparameters: Its searched values, active dimensions only.
        reward: Comparable reward, finite; diverged trials lie below (above, if minimizing) all others. With constraints
            or further objectives, its place among all (see above).
        diverged: Whether it diverged, never had a finite value, or failed.
        is_outside: Whether it was sampled outside its stage's ranges on purpose.
        losses: With constraints or further objectives, what each objective comes to, the comparable reward first; less
            is better, finite; those of diverged trials are worse than all others.
        excesses: By how much it misses each constraint, <= 0 if it keeps it; what a diverged trial has tells nothing.
        course: Rewards of the first objective as they stood after so many epochs, the last one at its end; empty for a
            diverged trial.
        first_tried: Number and stage of the trial that tried its configuration first and that it continues, if not it
            itself.
    """

    number: int
    stage: str
    hyperparameters: Hyperparameters
    reward: float
    diverged: bool = False
    is_outside: bool = False
    losses: tuple[float, ...] = ()
    excesses: tuple[float, ...] = ()
    course: tuple[tuple[int, float], ...] = ()
    first_tried: tuple[int, str] | None = None

    def __post_init__(self) -> None:
        assert math.isfinite(self.reward), f"trial {self.number} has the reward {self.reward!r}"

    @property
    def may_be_best(self) -> bool:
        """Whether it may count as one of the best: it did not diverge, and it keeps the constraints."""
        return not self.diverged and not violation(self.excesses) > 0.0


def comparable_observations(finished: Iterable[FinishedTrial], *, objective: Objective) -> tuple[Observation, ...]:
    """Return what the finished trials teach, in the order of their numbers; failed ones are left out.

    Args:
        finished: Search trials of any stages (those without a number are left out).
        objective: What is optimized.
    """
    rewards = ComparableRewards(objective)
    for trial in sorted(finished, key=lambda each: -1 if each.record.number is None else each.record.number):
        rewards.add(trial)
    return rewards.observations()


_SHARES_PER_FAILED = 8

_MOST_BOXES = 2
"""Ranges whose trials are kept apart: those of a stage, and what a model knows beyond them."""


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
        self._unscored: dict[int, FinishedTrial] = {}
        self._numbers: dict[str, int] = {}
        self._first_tried: dict[str, tuple[int, str]] = {}  # by key, of trials that continue others
        self._half_way: dict[int, float] = {}
        self._gains: dict[int, TypicalGain] = {}
        self._further_gains: dict[tuple[int, int], TypicalGain] = {}  # by objective and horizon
        self._all = _Ranking(self._sign)
        self._boxes: OrderedDict[SearchSpace, _Ranking] = OrderedDict()

    def add(self, trial: FinishedTrial) -> None:
        """Take note of a trial, once, after the one that it continues.

        One outside the search teaches nothing, a failed one only whom `informative` is asked to tell of it.
        """
        number = trial.record.number
        if number is None:
            return
        if trial.score is None:
            self._unscored[number] = trial
            return
        assert number not in self._trials, f"trial {number} was added before"
        continued = self._trials.get(self._numbers.get(trial.record.continues, -1))
        if continued is not None:
            before = continued.record
            first = self._first_tried.get(before.key, (self._numbers[before.key], before.stage))
            self._first_tried[trial.record.key] = first
            if not trial.record.supersedes(continued.record):
                return
            self._remove(continued)
        self._trials[number] = trial
        self._numbers[trial.record.key] = number
        if math.isfinite(_reward(trial)):
            horizon = trial.record.horizon_epochs
            self._gains.setdefault(horizon, TypicalGain(self._objective, _reward_of)).add(trial)
            for index, reading in enumerate(_further_readings(self._objective)):
                gains = self._further_gains.setdefault((index, horizon), TypicalGain(self._objective, reading))
                gains.add(trial)
        self._all.add(number, trial)
        for box, inside in self._boxes.items():
            if box.contains(trial.record.hyperparameters):
                inside.add(number, trial)

    def comparable(self, number: int) -> float:
        """Return the comparable reward of a trial whose reward is finite, and that no other one supersedes."""
        trial = self._trials[number]
        return _reward(trial) + self._gain(_group(trial.record))

    def observations(self) -> tuple[Observation, ...]:
        """Return all that the trials teach, in the order of their numbers."""
        return self._observed(sorted(self._trials))

    def informative(self, box: SearchSpace, *, at_most: int, failed: Sequence[int] = ()) -> tuple[Observation, ...]:
        """Return what the trials inside `box` teach, in the order of their numbers.

        Where there are more than `at_most`, these are the first sixteenth of so many, which tell what trials are like
        before a search gathers them about the best, the best half and, of the others, the most recent.

        Args:
            box: Ranges; asked again for the same ones, or two in turns, it costs no more than the answer.
            at_most: Longest answer, >= 2.
            failed: Numbers of failed trials that count as if they had diverged, ascending; at most the last eighth of
                so many.
        """
        crashed = [each for each in failed if box.contains(self._unscored[each].record.hyperparameters)]
        crashed = crashed[len(crashed) - min(len(crashed), at_most // _SHARES_PER_FAILED) :]
        at_most -= len(crashed)
        ranking = self._inside(box)
        if len(ranking.numbers) <= at_most:
            return self._observed(sorted((*ranking.numbers, *crashed)))
        best = self._by_place(ranking.numbers) if self._objective.further else ranking.best_first(self._gain)
        chosen = {*islice(ranking.numbers, at_most // 16), *islice(best, at_most // 2)}
        others = (number for number in reversed(ranking.numbers) if number not in chosen)
        return self._observed(sorted((*chosen.union(islice(others, at_most - len(chosen))), *crashed)))

    def n_inside(self, box: SearchSpace) -> int:
        """Return how many trials inside `box` teach something."""
        return len(self._inside(box).numbers)

    def _remove(self, trial: FinishedTrial) -> None:
        """Forget a trial as an observation; what it gained from epoch to epoch stays true."""
        number = self._numbers[trial.record.key]
        del self._trials[number]
        self._all.remove(number, trial)
        for box, inside in self._boxes.items():
            if box.contains(trial.record.hyperparameters):
                inside.remove(number, trial)

    def _inside(self, box: SearchSpace) -> _Ranking:
        if box not in self._boxes:
            inside = _Ranking(self._sign)
            for number, trial in self._trials.items():
                if box.contains(trial.record.hyperparameters):
                    inside.add(number, trial)
            self._boxes[box] = inside
            while len(self._boxes) > _MOST_BOXES:
                self._boxes.popitem(last=False)
        self._boxes.move_to_end(box)
        return self._boxes[box]

    def _observed(self, numbers: Sequence[int]) -> tuple[Observation, ...]:
        worst = self._worse_than_all()
        observations = tuple(self._observation(number, worst) for number in numbers)
        if self._objective.ranks_by_reward_alone:
            return observations
        losses = self._losses(numbers)
        if not self._objective.further:
            return tuple(
                replace(each, losses=own, reward=self._demoted(each))
                for each, own in zip(observations, losses, strict=True)
            )
        places = {number: place for place, number in enumerate(self._by_place(numbers))}
        return tuple(
            replace(each, losses=own, reward=-self._sign * places.get(each.number, len(numbers)))
            for each, own in zip(observations, losses, strict=True)
        )

    def _by_place(self, numbers: Sequence[int]) -> list[int]:
        """Return the trials that did not diverge, best first with all objectives and constraints taken together."""
        found = [number for number in numbers if math.isfinite(_reward(self._taught(number)))]
        violations = [violation(_excesses(self._trials[number])) for number in found]
        return [found[position] for position in best_first(self._losses(found), violations)]

    def _losses(self, numbers: Sequence[int]) -> list[tuple[float, ...]]:
        """Return the comparable losses of trials, one vector each; infinite ones become worse than all others."""
        rows = [self._raw_losses(number) for number in numbers]
        columns = [_finite(column) for column in zip(*rows, strict=True)]
        return list(zip(*columns, strict=True))

    def _raw_losses(self, number: int) -> tuple[float, ...]:
        trial = self._taught(number)
        reward = _reward(trial)
        n_objectives = 1 + len(self._objective.further)
        if trial.score is None or not math.isfinite(reward):
            return (math.inf,) * n_objectives
        horizon, n_epochs = _group(trial.record)
        further = [
            loss + self._further_gains[index, horizon].after(n_epochs) for index, loss in enumerate(trial.score.losses)
        ]
        return (-self._sign * self.comparable(number), *further)

    def _demoted(self, observation: Observation) -> float:
        """Return the reward of a trial that keeps the constraints, for any other one less than all of those have."""
        broken = violation(observation.excesses)
        if observation.diverged or not broken > 0.0:
            return observation.reward
        return self._worse_than_all(depth=0.5 + 0.5 * broken / (1.0 + broken))

    def _observation(self, number: int, worst: float) -> Observation:
        trial = self._taught(number)
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
            excesses=_excesses(trial),
            first_tried=self._first_tried.get(trial.record.key),
        )

    def _taught(self, number: int) -> FinishedTrial:
        return self._trials[number] if number in self._trials else self._unscored[number]

    def _course(self, number: int, trial: FinishedTrial) -> tuple[tuple[int, float], ...]:
        """Return the reward half way, if the trial is the beginning of the longest ones, and at the end."""
        end = (effective_epochs(trial.record), _reward(trial))
        n_half = len(trial.record.epochs) // 2
        if n_half < 1 or trial.record.horizon_epochs != max(self._gains):
            return (end,)
        if number not in self._half_way:
            score = score_after(trial.record, n_half, self._objective)
            self._half_way[number] = math.nan if score is None else score.reward
        half_way = self._half_way[number]
        return ((n_half, half_way), end) if math.isfinite(half_way) else (end,)

    def _gain(self, group: _Group) -> float:
        horizon, n_epochs = group
        return self._gains[horizon].after(n_epochs)

    def _worse_than_all(self, *, depth: float = 1.0) -> float:
        """Return a finite reward worse than all that keep the constraints, by `depth` of what they differ by."""
        ends = self._all.ends(self._gain)
        if not ends and not self._objective.constraints:
            return 0.0
        low, high = min(ends, default=0.0), max(ends, default=0.0)
        margin = (high - low) or max(abs(low), 1.0)
        return (low if self._objective.direction is Direction.MAXIMIZE else high) - self._sign * depth * margin


class _Ranking:
    """Trials in the order of their rewards, those of the same horizon and epochs apart from the others.

    Those that break constraints are apart from all, in the order of their violations.

    Attributes:
        numbers: Of all trials, diverged ones too, in order.
    """

    def __init__(self, sign: float) -> None:
        self.numbers: list[int] = []
        self._sign = sign
        self._groups: dict[_Group, list[tuple[float, int]]] = {}
        self._infeasible: list[tuple[float, int]] = []

    def add(self, number: int, trial: FinishedTrial) -> None:
        insort(self.numbers, number)
        reward, broken = _reward(trial), violation(_excesses(trial))
        if math.isfinite(reward) and broken > 0.0:
            insort(self._infeasible, (broken, number))
        elif math.isfinite(reward):
            insort(self._groups.setdefault(_group(trial.record), []), (-self._sign * reward, number))

    def remove(self, number: int, trial: FinishedTrial) -> None:
        del self.numbers[bisect_left(self.numbers, number)]
        reward, broken = _reward(trial), violation(_excesses(trial))
        if math.isfinite(reward) and broken > 0.0:
            del self._infeasible[bisect_left(self._infeasible, (broken, number))]
        elif math.isfinite(reward):
            losses = self._groups[_group(trial.record)]
            del losses[bisect_left(losses, (-self._sign * reward, number))]
            if not losses:
                del self._groups[_group(trial.record)]

    def best_first(self, gain: _Gain) -> Iterator[int]:
        """Yield the trials that did not diverge: best comparable reward first, then least violation first."""
        groups = [self._moved(losses, gain(group)) for group, losses in self._groups.items()]
        return (number for _, number in chain(heapq.merge(*groups), self._infeasible))

    def ends(self, gain: _Gain) -> list[float]:
        """Return the best and the worst comparable reward of each group, of trials that keep the constraints."""
        return [
            -self._sign * loss + gain(group)
            for group, losses in self._groups.items()
            for loss, _ in (losses[0], losses[-1])
        ]

    def _moved(self, losses: list[tuple[float, int]], gain: float) -> Iterator[tuple[float, int]]:
        return ((loss - self._sign * gain, number) for loss, number in losses)


def _group(record: TrialRecord) -> _Group:
    return record.horizon_epochs, effective_epochs(record)


def _reward(trial: FinishedTrial) -> float:
    return math.nan if trial.score is None else trial.score.reward


def _reward_of(trial_score: Score) -> float:
    return trial_score.reward


def _further_readings(objective: Objective) -> list[Reading]:
    return [partial(_further_loss, index) for index in range(len(objective.further))]


def _further_loss(index: int, trial_score: Score) -> float:
    return trial_score.losses[index]


def _excesses(trial: FinishedTrial) -> tuple[float, ...]:
    return () if trial.score is None else trial.score.excesses


def _finite(values: Sequence[float]) -> list[float]:
    """Return the losses with infinite ones replaced by one that is worse than all, by as much as they differ."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    worst = max(known) + ((max(known) - min(known)) or max(abs(max(known)), 1.0))
    return [value if math.isfinite(value) else worst for value in values]

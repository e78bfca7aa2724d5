"""What a study takes from earlier ones: the best of their configurations to be tried again, the rest as weak evidence.

Rewards of another study mean little here: its data, its epochs and its scale may differ. So of each trial only its rank
among the trials of its own study is kept, and of a study no more trials than can be told in a few kilobytes: the best
ones, and others evenly over the ranks. All of it is stored when the new study is created.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from search.configuration import known_part
from search.search_space import Choices, Dimension, Hyperparameters, SearchSpace, Value
from search.study_definition import Direction, StudyDefinition

MOST_KEPT = 96
"""Trials of one earlier study that are kept."""

MOST_TRIED = 5
TRIALS_PER_TRIED = 8
"""One in so many of the first stage's trials, at most `MOST_TRIED`, tries a configuration of earlier studies again."""

_LEAST_QUALITY = 0.5
_N_BEST_KEPT = 32
_DISTINCT = 0.05  # of a range's width on its scale: what is closer in every dimension is tried only once


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTrial:
    """A trial of an earlier study as its store has it.

    Attributes:
        hyperparameters: By the names of that study; numbers may be spelled as texts.
        reward: Finite; the earlier study's direction says whether more is better.
        name: What it is called there, for people.
        may_be_best: Whether it may count as one of the best there: as far as its store tells, it did not diverge, and
            it keeps the constraints.
    """

    hyperparameters: Hyperparameters
    reward: float
    name: str
    may_be_best: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PastObservation:
    """What a trial of an earlier study says here.

    Attributes:
        hyperparameters: The values that it shares with the study's space, within the hard limits.
        quality: Its rank in its own study, in ``[0, 1]``, 1 for the best.
        origin: The study and the trial, for people.
        may_be_best: Whether it may count as one of the best of its study; one that may not is evidence only.
    """

    hyperparameters: Hyperparameters
    quality: float
    origin: str
    may_be_best: bool = True

    @property
    def may_be_tried_again(self) -> bool:
        """Whether it may be a starting point: it may count as one of the best, and is not in the worse half."""
        return self.may_be_best and self.quality >= _LEAST_QUALITY


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPoint:
    """Values that are tried first.

    Attributes:
        hyperparameters: Some or all values of the space, within the hard limits.
        origin: Where they come from, for people.
    """

    hyperparameters: Hyperparameters
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """All that a study takes from before it, settled when it is created.

    Attributes:
        starting_points: What its first trials are, in order.
        studies: What is kept of each earlier study, best first.
        seed: Of what search trials try and of their trainings: an earlier study may have the seed of this one, whose
            trials would be made once more. None for the study's own.
    """

    starting_points: tuple[StartingPoint, ...] = ()
    studies: tuple[tuple[PastObservation, ...], ...] = ()
    seed: int | None = None


def observed(
    trials: Sequence[PastTrial], *, space: SearchSpace, direction: Direction, study: str
) -> tuple[PastObservation, ...]:
    """Return what an earlier study's trials say in a space, the best first, at most `MOST_KEPT`.

    A trial that has no value in common with the space, or one outside its hard limits, says nothing but how good the
    others of its study are.

    Args:
        trials: Of one study.
        space: The new study's.
        direction: Whether more reward is better.
        study: Name of the earlier one.
    """
    usable = [(trial, part) for trial in trials if (part := known_part(space, trial.hyperparameters))]
    usable.sort(key=lambda each: -direction.sign * each[0].reward)
    rewards = sorted(direction.sign * trial.reward for trial in trials)
    return tuple(
        PastObservation(
            hyperparameters=part,
            quality=_rank(direction.sign * trial.reward, rewards),
            origin=f"{study}, {trial.name}",
            may_be_best=trial.may_be_best,
        )
        for trial, part in _excerpt(usable)
    )


def starting_points(
    definition: StudyDefinition, studies: Sequence[Sequence[PastObservation]]
) -> tuple[StartingPoint, ...]:
    """Return what a study tries first: the configurations that it lists, then the best of earlier studies in turn.

    Where the earlier ones have too few that are worth it, there are fewer.

    Args:
        definition: The study.
        studies: What is kept of each earlier study, best first.
    """
    listed = () if definition.warm_start is None else definition.warm_start.configurations
    points = [
        StartingPoint(hyperparameters=values, origin=f"configuration {index}")
        for index, values in enumerate(listed, start=1)
    ]
    n_trials = definition.stages[0].n_trials
    room = MOST_TRIED
    if n_trials is not None:
        room = min(n_trials - len(points), max(1, min(MOST_TRIED, n_trials // TRIALS_PER_TRIED)))
    candidates = (each for study in studies for each in study if each.may_be_tried_again)
    for each in sorted(candidates, key=lambda each: -each.quality):
        if room <= 0:
            break
        if not any(_is_close(each.hyperparameters, other.hyperparameters, definition.space) for other in points):
            points.append(StartingPoint(hyperparameters=each.hyperparameters, origin=each.origin))
            room -= 1
    return tuple(points)


def _excerpt(ranked: Sequence[tuple[PastTrial, dict[str, Value]]]) -> list[tuple[PastTrial, dict[str, Value]]]:
    """Return the best ones and, of the others, as many as there is room for, evenly over the ranks."""
    if len(ranked) <= MOST_KEPT:
        return list(ranked)
    others, room = len(ranked) - _N_BEST_KEPT, MOST_KEPT - _N_BEST_KEPT
    chosen = (_N_BEST_KEPT + (2 * index + 1) * others // (2 * room) for index in range(room))
    return [*ranked[:_N_BEST_KEPT], *(ranked[index] for index in chosen)]


def _rank(reward: float, ascending: Sequence[float]) -> float:
    """Return the share of the other rewards that are worse, equal ones counting half; 0.5 if there are no others."""
    others = len(ascending) - 1
    if not others:
        return 0.5
    return (bisect_left(ascending, reward) + bisect_right(ascending, reward) - 1) / (2.0 * others)


def _is_close(one: Hyperparameters, other: Hyperparameters, space: SearchSpace) -> bool:
    if one.keys() != other.keys():
        return False
    return all(_distance(space[name], one[name], other[name]) < _DISTINCT for name in one)


def _distance(dimension: Dimension, one: Value, other: Value) -> float:
    """Return how far two values within the limits are apart, as a share of the declared range; 1 between choices."""
    range_ = dimension.range
    if isinstance(range_, Choices) or one == other or (dimension.zero_share and 0 in (one, other)):
        return float(one != other)
    assert not isinstance(one, str)
    assert not isinstance(other, str)
    return abs(range_.scale(one) - range_.scale(other)) / (range_.scale(range_.high) - range_.scale(range_.low))

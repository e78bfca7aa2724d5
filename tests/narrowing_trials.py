"""Trials that rules of narrowing judge: random points with the reward that a formula gives them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from search.comparable_rewards import Observation
from search.narrowing import narrow
from search.search_space import Choices, Dimension, Hyperparameters, LinearRange, LogRange, NumericRange, SearchSpace
from search.study_definition import Direction, NarrowRule
from search.study_record import NarrowedSpace, RangeDecision

UP = Direction.MAXIMIZE
POSTERIOR, TRUST = NarrowRule(rule="posterior"), NarrowRule(rule="trust_region")
RATE = Dimension(name="rate", range=LogRange(low=1e-5, high=1.0), limits=LogRange(low=1e-7, high=10.0))
IDLE = Dimension(name="idle", range=LinearRange(low=0.0, high=1.0), limits=LinearRange(low=0.0, high=1.0))
KIND = Dimension(name="kind", range=Choices(values=("a", "b", "c")), limits=Choices(values=("a", "b", "c")))
KINDS_OF_THREE = Dimension(
    name="kind",
    range=Choices(values=("good", "fair", "bad")),
    limits=Choices(values=("good", "fair", "bad")),
)
Reward = Callable[[Hyperparameters], float]


def observation(number: int, point: Hyperparameters, reward: float, *, stage: str = "coarse") -> Observation:
    """Return a finished trial; NaN as reward means diverged."""
    diverged = math.isnan(reward)
    value = -1e3 if diverged else reward
    return Observation(number=number, stage=stage, hyperparameters=point, reward=value, diverged=diverged)


def trials(
    box: SearchSpace, reward: Reward, *, n: int = 48, seed: int = 0, first: int = 0, stage: str = "coarse"
) -> list[Observation]:
    """Return trials at random points, numbered from `first` on."""
    rng = np.random.default_rng([seed, first])
    units = [dict(zip(box.names, rng.random(len(box)).tolist(), strict=True)) for _ in range(n)]
    points = [box.from_units(each) for each in units]
    return [observation(first + index, point, reward(point), stage=stage) for index, point in enumerate(points)]


def narrowed(
    known: Sequence[Observation], space: SearchSpace, rule: NarrowRule, *, declared: SearchSpace | None = None
) -> NarrowedSpace:
    """Return what a rule makes of the current ranges."""
    return narrow(known, space, direction=UP, rule=rule, study_space=declared or space)


def only(found: NarrowedSpace) -> tuple[Dimension, RangeDecision]:
    """Return what became of the only dimension."""
    assert len(found.space) == len(found.decisions) == 1
    return found.space.dimensions[0], found.decisions[0]


def numeric(dimension: Dimension) -> NumericRange:
    """Return the range of a dimension that is no choice."""
    assert not isinstance(dimension.range, Choices)
    return dimension.range


def peak(at: float, *, name: str = "x") -> Reward:
    """Return a reward that falls with the square of the distance in decades."""
    return lambda point: -((math.log10(float(point[name])) - math.log10(at)) ** 2)

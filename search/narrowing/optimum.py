"""Where the optimum may lie, by a Gaussian process of the trials: one place for each function drawn from its posterior.

Short trials prefer other values than long ones, and each stage trains longer than the one before. So the stage, counted
from 0, may be a coordinate of the process: the functions drawn are then those of the stage to come, and how far the
stages so far speak for it is the coordinate's lengthscale.

The candidates are points spread over all of where the optimum is looked for and others scattered about the best trials
there, near and less near; each drawn function has its maximum at one of them. All random numbers are fixed: the same
trials give the same places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from search.comparable_rewards import Observation
from search.narrowing.interval import interval_of
from search.narrowing.surrogate import Array, Surrogate, fitted, normal_scores
from search.search_space import Choices, Dimension, Hyperparameters, SearchSpace, Value
from search.study_definition import Direction

N_DRAWS = 256
MOST_OBSERVATIONS = 256  # the cost of a fit grows with the third power
IDLE_LENGTH = 4.0  # of the range: from one end to the other the function then changes by a quarter of its deviation
_N_SPREAD = 512
_N_CENTRES, _N_SCATTERED, _SCATTERS = 8, 24, (0.05, 0.2)
_OTHER_CHOICE = 0.2  # chance that a scattered point has another choice
_SEED = 20_190_814


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A Gaussian process of the trials in a space.

    Attributes:
        space: Its unit coordinates are those of the model.
        trials: The trials that it was fitted to, best first.
        surrogate: The process.
        columns: Column of each dimension's coordinate, by name; the stage to come, if any, has the last one.
        next_stage: Position of the stage to come, None if all stages count as one.
    """

    space: SearchSpace
    trials: tuple[Observation, ...]
    surrogate: Surrogate
    columns: Mapping[str, int]
    next_stage: int | None

    def length(self, name: str) -> float:
        """Return the lengthscale of a dimension, in widths of its range."""
        return float(self.surrogate.lengths[self.columns[name]])

    def idle_reason(self, name: str) -> str:
        """Return why a numeric dimension does not seem to matter, empty if it does."""
        length = self.length(name)
        if length < IDLE_LENGTH:
            return ""
        return (
            f"no evidence that it matters: its lengthscale is {length:.2g} widths of the range "
            f"(from {IDLE_LENGTH:.0f} on, little changes along it)"
        )

    def means(self) -> Array:
        """Return the posterior mean of each trial's hyperparameters in the stage to come, shape ``(n_trials,)``."""
        return self.surrogate.mean(self._to_come([each.hyperparameters for each in self.trials]))

    def optima(self, within: SearchSpace) -> list[dict[str, Value]]:
        """Return where the maximum of each drawn function lies, `N_DRAWS` of them.

        Args:
            within: Where maxima are looked for, inside the model's space.
        """
        rng = np.random.default_rng(_SEED)
        centres = [each for each in self.trials if within.contains(each.hyperparameters)][:_N_CENTRES]
        candidates = [*_spread(within), *_scattered(centres, within, rng)]
        normals = rng.standard_normal((len(candidates), N_DRAWS))
        drawn = self.surrogate.draws(self._to_come(candidates), normals)
        return [candidates[index] for index in np.argmax(drawn, axis=0)]

    def probability_of_better(self, points: Sequence[Hyperparameters], others: Sequence[Hyperparameters]) -> float:
        """Return the share of drawn functions whose mean over `points` is above that over `others`, >= 0, <= 1."""
        normals = np.random.default_rng(_SEED).standard_normal((len(points) + len(others), N_DRAWS))
        drawn = self.surrogate.draws(self._to_come([*points, *others]), normals)
        return float(np.mean(drawn[: len(points)].mean(axis=0) > drawn[len(points) :].mean(axis=0)))

    def _to_come(self, points: Sequence[Hyperparameters]) -> Array:
        coordinates = encoded(points, self.space)
        return coordinates if self.next_stage is None else _with_stages(coordinates, [self.next_stage] * len(points))


def model_of(
    best_first: Sequence[Observation], space: SearchSpace, direction: Direction, *, tells_stages_apart: bool
) -> Model:
    """Fit a model to trials; of very many, to the best and some others.

    Args:
        best_first: At least one, best first, all inside `space`.
        space: What the model is about.
        direction: Whether more reward is better.
        tells_stages_apart: Whether the stage is a coordinate.
    """
    losses = [-direction.sign * each.reward for each in best_first]
    scores = normal_scores(losses)
    chosen = _excerpt(len(best_first))
    trials = tuple(best_first[index] for index in chosen)
    columns, is_choice = _columns(space)
    points, stages = encoded([each.hyperparameters for each in trials], space), _stages(best_first)
    if tells_stages_apart:
        points = _with_stages(points, [stages[each.stage] for each in trials])
        is_choice = np.append(is_choice, False)
    return Model(
        space=space,
        trials=trials,
        surrogate=fitted(points, scores[chosen], is_choice),
        columns=columns,
        next_stage=len(stages) if tells_stages_apart else None,
    )


def _stages(trials: Sequence[Observation]) -> dict[str, int]:
    """Return the position of each stage, by name, in the order of their first trials."""
    firsts: dict[str, int] = {}
    for trial in trials:
        firsts[trial.stage] = min(trial.number, firsts.get(trial.stage, trial.number))
    return {stage: index for index, stage in enumerate(sorted(firsts, key=lambda stage: firsts[stage]))}


def _with_stages(points: Array, stages: Sequence[int]) -> Array:
    """Return points with the stage as one more column."""
    return np.column_stack([points, np.array(stages, dtype=np.float64)])


def _excerpt(n_trials: int) -> NDArray[np.intp]:
    """Return ranks: all, or the best of them and as many others evenly from the rest."""
    if n_trials <= MOST_OBSERVATIONS:
        return np.arange(n_trials)
    half = MOST_OBSERVATIONS // 2
    return np.concatenate([np.arange(half), np.linspace(half, n_trials - 1, half).astype(np.intp)])


def _columns(space: SearchSpace) -> tuple[dict[str, int], NDArray[np.bool_]]:
    columns: dict[str, int] = {}
    is_choice: list[bool] = []
    for dimension in space:
        columns[dimension.name] = len(is_choice)
        is_choice.append(isinstance(dimension.range, Choices))
        if dimension.zero_share > 0.0:
            is_choice.append(True)
    return columns, np.array(is_choice)


def encoded(points: Sequence[Hyperparameters], space: SearchSpace) -> Array:
    """Return points as the process sees them, shape ``(n_points, n_columns)``.

    A numeric value is its position on the dimension's scale, as a share of the range; the extra zero lies at the lower
    end, told from it by a column of its own. What is inactive lies in the middle: the choice that it hangs on tells it
    apart.
    """
    columns = [column for dimension in space for column in _encoded(dimension, points)]
    return np.array(columns, dtype=np.float64).T


def _encoded(dimension: Dimension, points: Sequence[Hyperparameters]) -> list[list[float]]:
    values = [each.get(dimension.name) for each in points]
    if isinstance(dimension.range, Choices):
        codes = dimension.range.values
        return [[-1.0 if value is None else float(codes.index(value)) for value in values]]
    where, scale = interval_of(dimension.range), dimension.range.scale
    zeros = [dimension.zero_share > 0.0 and value is not None and value == 0 for value in values]
    shares = [
        0.5 if value is None else 0.0 if zero else (scale(float(value)) - where.low) / where.width
        for value, zero in zip(values, zeros, strict=True)
    ]
    return [shares, [float(zero) for zero in zeros]] if dimension.zero_share > 0.0 else [shares]


def _spread(space: SearchSpace) -> list[dict[str, Value]]:
    units = qmc.Sobol(len(space), scramble=True, seed=np.random.default_rng(_SEED)).random(_N_SPREAD)
    return [space.from_units(dict(zip(space.names, row, strict=True))) for row in units.tolist()]


def _scattered(trials: Sequence[Observation], space: SearchSpace, rng: np.random.Generator) -> list[dict[str, Value]]:
    """Return points about each of the trials, of which the first is the trial itself."""
    is_choice = np.array([isinstance(dimension.range, Choices) for dimension in space])
    points = []
    for trial in trials:
        given = trial.hyperparameters
        centre = [0.5 if each.name not in given else each.to_unit(given[each.name]) for each in space]
        points.append(dict(given))
        for index in range(_N_SCATTERED):
            shifted = np.clip(centre + rng.normal(0.0, _SCATTERS[index % 2], len(space)), 0.0, 1.0)
            fresh, drawn = rng.random(len(space)), rng.random(len(space))
            chosen = np.where(fresh < _OTHER_CHOICE, drawn, centre)
            units = np.where(is_choice, chosen, shifted)
            points.append(space.from_units(dict(zip(space.names, units.tolist(), strict=True))))
    return points

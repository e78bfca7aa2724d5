"""Trials by several objectives at once: who dominates whom, the front, and one order from best to worst.

A trial dominates another one if it is no worse in every objective and better in one; the front is what nobody
dominates. What breaks constraints is dominated by all that keeps them, and by what breaks them less.

Source: Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE
Transactions on Evolutionary Computation 6 (2002): non-dominated sorting, crowding distance, constrained domination.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_Losses = NDArray[np.float64]
_ROWS = 512  # compared with all at a time, so that memory stays small


def front(losses: Sequence[Sequence[float]], violations: Sequence[float]) -> list[int]:
    """Return the positions of the trials that none dominates, in order.

    Where all break constraints, these are the ones that do least.

    Args:
        losses: One vector a trial, less is better, of equal lengths; infinities may be there, NaN not.
        violations: Total violation of each trial, >= 0, 0 if it keeps all constraints.
    """
    return next(_layers(losses, violations), [])


def best_first(losses: Sequence[Sequence[float]], violations: Sequence[float]) -> list[int]:
    """Return the positions of all trials from best to worst.

    Front by front; inside a front by crowding distance, the ends of the front and the lonely ones first, so that its
    whole length is among the best; equal ones in their order. What breaks constraints follows, least violation first.

    Args:
        losses: As for `front`, but finite.
        violations: Likewise.
    """
    return [position for layer in _layers(losses, violations) for position in _lonely_first(layer, losses)]


def _layers(losses: Sequence[Sequence[float]], violations: Sequence[float]) -> Iterator[list[int]]:
    kept = [position for position, violation in enumerate(violations) if not violation > 0.0]
    left = np.asarray(kept, dtype=np.intp)
    values = np.asarray([losses[position] for position in kept], dtype=np.float64)
    while len(left):
        is_dominated = _dominated(values)
        yield [int(position) for position in left[~is_dominated]]
        left, values = left[is_dominated], values[is_dominated]
    broken = sorted((violation, position) for position, violation in enumerate(violations) if violation > 0.0)
    for index, (violation, position) in enumerate(broken):
        if index == 0 or violation != broken[index - 1][0]:
            yield [position, *(each for other, each in broken[index + 1 :] if other == violation)]


def _dominated(values: _Losses) -> NDArray[np.bool_]:
    """Return which rows another row dominates; shape ``(n,)`` for values of shape ``(n, k)``."""
    found = np.zeros(len(values), dtype=bool)
    for start in range(0, len(values), _ROWS):
        rows = values[start : start + _ROWS, None, :]
        no_worse = np.all(values[None, :, :] <= rows, axis=2)
        better = np.any(values[None, :, :] < rows, axis=2)
        found[start : start + _ROWS] = np.any(no_worse & better, axis=1)
    return found


def _lonely_first(layer: Sequence[int], losses: Sequence[Sequence[float]]) -> list[int]:
    values = np.asarray([losses[position] for position in layer], dtype=np.float64)
    distances = [0.0] * len(layer)
    for column in values.T:
        order = np.argsort(column, kind="stable")
        width = float(column[order[-1]] - column[order[0]])
        if not width > 0.0:
            continue
        distances[order[0]] = distances[order[-1]] = math.inf
        for before, index, after in zip(order, order[1:], order[2:], strict=False):
            distances[index] += float(column[after] - column[before]) / width
    return [layer[index] for index in sorted(range(len(layer)), key=lambda index: (-distances[index], index))]

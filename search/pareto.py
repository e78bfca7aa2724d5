"""Trials by several objectives at once: who dominates whom, the front, and one order from best to worst.

A trial dominates another one if it is no worse in every objective and better in one; the front is what nobody
dominates. What breaks constraints is dominated by all that keeps them, and by what breaks them less.

Source: Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE
Transactions on Evolutionary Computation 6 (2002): crowding distance, constrained domination. Zhang, Tian, Cheng, Jin,
"An efficient approach to nondominated sorting for evolutionary multiobjective optimization", likewise 19 (2015): fronts
one trial at a time, by bisection.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from operator import le
from typing import TypeAlias

_Losses: TypeAlias = Sequence[float]


def front(losses: Sequence[_Losses], violations: Sequence[float]) -> list[int]:
    """Return the positions of the trials that none dominates, in order.

    Where all break constraints, these are the ones that do least.

    Args:
        losses: One vector a trial, less is better, of equal lengths; infinities may be there, NaN not.
        violations: Total violation of each trial, >= 0, 0 if it keeps all constraints.
    """
    return next(iter(_layers(losses, violations)), [])


def best_first(losses: Sequence[_Losses], violations: Sequence[float]) -> list[int]:
    """Return the positions of all trials from best to worst.

    Front by front; inside a front by crowding distance, the ends of the front and the lonely ones first, so that its
    whole length is among the best; equal ones in their order. What breaks constraints follows, least violation first.

    Args:
        losses: As for `front`, but finite.
        violations: Likewise.
    """
    return [position for layer in _layers(losses, violations) for position in _lonely_first(layer, losses)]


def _layers(losses: Sequence[_Losses], violations: Sequence[float]) -> list[list[int]]:
    """Return the positions front by front, each in order; those of equal violation are a front too."""
    kept = [position for position, violation in enumerate(violations) if not violation > 0.0]
    broken = sorted((violation, position) for position, violation in enumerate(violations) if violation > 0.0)
    by_violation = groupby(broken, key=lambda each: each[0])
    return [*_fronts(kept, losses), *([position for _, position in layer] for _, layer in by_violation)]


def _fronts(positions: Sequence[int], losses: Sequence[_Losses]) -> list[list[int]]:
    """Return the fronts, the first one first.

    In the order of their losses, no trial dominates one before it; and what a later front dominates, every earlier one
    does: a trial belongs to the first front that does not dominate it, which bisection finds.
    """
    fronts: list[list[_Losses]] = []
    members: list[list[int]] = []
    places: dict[tuple[float, ...], int] = {}
    for position in sorted(positions, key=lambda each: tuple(losses[each])):
        own = tuple(losses[position])
        if own not in places:
            place = places[own] = bisect_left(fronts, True, key=partial(_is_not_dominated, own))
            if place == len(fronts):
                fronts.append([])
                members.append([])
            fronts[place].append(own)
        members[places[own]].append(position)
    return [sorted(each) for each in members]


def _is_not_dominated(losses: _Losses, by: Sequence[_Losses]) -> bool:
    """Whether every one of other vectors is greater somewhere; the latest, which are closest, are looked at first."""
    return not any(all(map(le, other, losses)) for other in reversed(by))


def _lonely_first(layer: Sequence[int], losses: Sequence[_Losses]) -> list[int]:
    distances = dict.fromkeys(layer, 0.0)
    for column in zip(*(losses[position] for position in layer), strict=True):
        ascending = sorted(zip(column, layer, strict=True))
        (least, first), (most, last) = ascending[0], ascending[-1]
        if not most > least:
            continue
        distances[first] = distances[last] = math.inf
        for (below, _), (_, position), (above, _) in zip(ascending, ascending[1:], ascending[2:], strict=False):
            distances[position] += (above - below) / (most - least)
    return sorted(layer, key=lambda position: -distances[position])

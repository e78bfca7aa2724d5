"""Trials outside the stage's ranges, within the declared ones, so that what was cut off by mistake can show itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

from search.sampling.quasi_random import OUTSIDE, sobol_point
from search.search_space import SearchSpace, Value

MOST_DRAWS = 64
"""Points tried until one lies outside; where the box is nearly all of the declared ranges, there may be none."""


def outside_point(
    *, declared: SearchSpace, box: SearchSpace, share: float, stage_seed: int, index_in_stage: int
) -> dict[str, Value] | None:
    """Return a point of `declared` that is not in `box`, or None if this trial lies inside.

    The trials outside are spread evenly over the stage, as many as `share` says up to rounding, and over the declared
    ranges: they are successive points of one quasi-random sequence. A point that lies in the box is drawn again, from
    the same place of another scrambling of the sequence.

    Args:
        declared: The study's ranges.
        box: The stage's ranges.
        share: Share of the stage's trials that lie outside, in ``[0, 1]``.
        stage_seed: In ``[0, 2**31)``, the same for all trials of the stage.
        index_in_stage: Position of the trial in its stage, from 0.
    """
    first = stage_seed / 2**31  # which one is the first: no place in the stage is favoured
    n_before, n_after = (math.floor(first + index * share) for index in (index_in_stage, index_in_stage + 1))
    if n_after == n_before:
        return None
    return point_outside(declared, box=box, seed=(stage_seed, OUTSIDE), index=n_before)


def point_outside(
    declared: SearchSpace, *, box: SearchSpace, seed: Sequence[int], index: int
) -> dict[str, Value] | None:
    """Return point `index` of a quasi-random sequence over `declared`; None if none is found that is not in `box`.

    Args:
        declared: The study's ranges.
        box: The stage's ranges.
        seed: Of the sequence's scramblings.
        index: From 0.
    """
    for draw in range(MOST_DRAWS):
        point = sobol_point(declared, seed=(*seed, draw), index=index)
        if not box.contains(point):
            return point
    return None

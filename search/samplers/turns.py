"""Whose turn it is, of several samplers that share a study."""

from __future__ import annotations

import numpy as np


def turn(position: int, *, n_members: int, seed: int) -> int:
    """Return which member is to be asked, in ``[0, n_members)``.

    In each round every member has one turn; in which order is drawn anew for each round. Were it always the same, a
    member would be asked at every second position alone, and those of a Sobol sequence lie in one half of a dimension.

    Args:
        position: Of the trial, from 0.
        n_members: >= 1.
        seed: Of the orders, >= 0.
    """
    in_round, place = divmod(position, n_members)
    return int(np.random.default_rng([seed, in_round]).permutation(n_members)[place])

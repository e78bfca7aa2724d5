"""When devices need not wait for the last trials of a stage."""

from __future__ import annotations

_ENOUGH_SHARE = 0.75


def may_go_on(*, n_finished: int, n_unfinished: int, n_inside: int, n_needed: int) -> bool:
    """Return whether what follows a stage may begin without its stragglers, all of its trials having begun.

    Three quarters of them must have finished. Narrowing goes by the best quarter of what has: were all stragglers
    better than those, that would still be trials from the better half of the stage (a quarter of three quarters, beside
    one quarter missing, is 7 of 16). And there must be as many trials as narrowing needs, unless there would be too few
    with the stragglers as well: the ranges stay as they are then. With one worker nothing is unfinished when it is
    idle.

    Args:
        n_finished: Trials of the stage that have ended.
        n_unfinished: Trials of the stage that have begun and not ended.
        n_inside: Finished trials of any stage in the ranges by which the next stage's narrowing goes.
        n_needed: How many of these it needs; 0 if no stage follows.
    """
    if n_unfinished == 0:
        return True
    is_worth_waiting = n_inside < n_needed <= n_inside + n_unfinished
    return n_finished >= _ENOUGH_SHARE * (n_finished + n_unfinished) and not is_worth_waiting

"""What averaging gained on the test split over the best single member."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

from lightning_modules.ensembles.ensemble_gain import EnsembleGain, ensemble_gain
from search.messages import TestResult
from search.study_definition import Ensemble, FinishSettings

_MAXIMIZED: Mapping[str, bool] = {"test_acc": True, "test_loss": False}


def gains_on_test(test: TestResult) -> tuple[Mapping[str, EnsembleGain], tuple[str, ...]]:
    """Compare the ensembles of a reading of the test split with their best members.

    Where refits have several members, each refit is an ensemble of its own, and they differ in their seeds; else all
    members are one ensemble.

    Returns:
        The gains by metric, and why one is missing; nothing without an ensemble, or with a single member.
    """
    ensembles: Sequence[Mapping[str, float]] = (test.ensemble,)
    groups: Sequence[Sequence[Mapping[str, float]]] = (test.scores,)
    if max(test.sizes, default=0) > 1:
        ends = (0, *accumulate(test.sizes))
        ensembles = test.ensembles
        groups = [test.scores[start:end] for start, end in pairwise(ends)]
    gains, notices = {}, []
    for name, maximize in _MAXIMIZED.items():
        own = [each[name] for each in ensembles if name in each]
        members = [[each[name] for each in group if name in each] for group in groups]
        if len(test.scores) < 2 or not own:
            continue
        left_out = [each[name] for each in test.left_out if name in each]
        if all(map(math.isfinite, [*own, *(score for each in members for score in each), *left_out])):
            gains[name] = ensemble_gain(ensembles=own, members=members, maximize=maximize, left_out=left_out)
        else:
            notices.append(f"no gain of the ensemble in {name} can be given: it is infinite, or no number, somewhere.")
    return gains, tuple(notices)


def fallen_short(settings: FinishSettings, test: TestResult) -> tuple[str, ...]:
    """Say so if refits kept less than they were to, or there was one configuration only.

    Args:
        settings: How the study ends.
        test: The reading of the test split.
    """
    most = max(test.sizes, default=0)
    match settings.ensemble:
        case Ensemble.SNAPSHOTS if most == 1:
            lacking = "no refit has snapshots: its learning rate had no cycle that ended before it did"
        case Ensemble.LAST_N if settings.last_n is not None and 0 < most < settings.last_n:
            trained = f"{most} epoch{'s' if most > 1 else ''}"
            return (f"a refit trained for {trained} only, so it has no more members than that.",)
        case Ensemble.TOP_K if len(test.sizes) == 1:
            lacking = "a single configuration was refitted"
        case _:
            return ()
    members = f"its members are the {len(test.sizes)} refits" if len(test.sizes) > 1 else "it has a single member"
    return (f"the ensemble is not what was asked for ({settings.ensemble.value}), {members}: {lacking}.",)

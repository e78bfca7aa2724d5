"""How long the rest of a study takes on its devices: an estimate from the mean time of an epoch so far."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from search.study_record import FinishPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a study trains.

    Attributes:
        seconds_per_epoch: Mean time that an epoch occupies its worker, > 0, all that a trial needs beside its training
            included; NaN while nothing is known.
        n_workers: Trials that run at a time, >= 1.
        devices_per_worker: Devices of one of them, > 0; a fraction if trials share a device.
    """

    seconds_per_epoch: float
    n_workers: int
    devices_per_worker: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Runs that are still to be trained, any number of them at a time.

    Attributes:
        n_runs: How many, >= 0; those under way count as a whole.
        n_epochs: Epochs that each is expected to take, > 0.
    """

    n_runs: int
    n_epochs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a load takes: seconds of wall time, and seconds of devices summed over them; NaN if unknown."""

    wall_seconds: float
    device_seconds: float


def cost(loads: Iterable[Load], pace: Pace) -> Cost:
    """Return what the loads take one after the other; more workers never make it longer.

    A load of work w in runs of length p takes ``w/W + (1 - 1/W) p/2`` on W workers, at least one run: half of what the
    last runs of a list can cost at worst, while the other workers wait for them.

    Source: Graham, "Bounds on multiprocessing timing anomalies", SIAM J. Appl. Math. 17 (1969), list scheduling.
    """
    wall = device = 0.0
    for load in loads:
        if load.n_runs == 0:
            continue
        longest = load.n_epochs * pace.seconds_per_epoch
        work = load.n_runs * longest
        wall += max(longest, 0.5 * longest + (work - 0.5 * longest) / pace.n_workers)
        device += work * pace.devices_per_worker
    return Cost(wall_seconds=wall, device_seconds=device)


def expected_epochs(*, n_finished: int, n_epochs: int, max_epochs: int) -> float:
    """Return the epochs that one more trial of a stage is expected to take, in ``(0, max_epochs]``.

    What pruning and early stopping have saved so far, with one trial of full length for what is not known yet.

    Args:
        n_finished: Finished trials of the stage, >= 0.
        n_epochs: Epochs of all of them together.
        max_epochs: Epochs that each may train, >= 1.
    """
    return (n_epochs + max_epochs) / (n_finished + 1)


def finish_loads(plan: FinishPlan | None, *, max_epochs: int) -> tuple[Load, ...]:
    """Return what the finish takes at most: rounds of confirmation, then the refits."""
    if plan is None:
        return ()
    rounds = (Load(n_runs=plan.top_k, n_epochs=max_epochs),) * plan.n_seeds
    return (*rounds, Load(n_runs=plan.n_refits, n_epochs=max_epochs))


def is_due(*, n_finished: int, n_trials: int, n_workers: int) -> bool:
    """Whether a stage has enough finished trials for a forecast: three, a tenth of them, and one a worker."""
    return n_finished >= min(n_trials, max(3, math.ceil(n_trials / 10), n_workers))

"""How long training runs take on the devices of a study: an estimate from the mean times so far."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from search.study_record import FinishPlan, Spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a study trains.

    Attributes:
        seconds_per_epoch: Mean time of an epoch, > 0; NaN while nothing is known.
        seconds_per_run: Mean time that a training run occupies its worker beside its epochs, >= 0: to build the model,
            to read the data, to hand over to the next.
        n_workers: Trials that run at a time, >= 1.
        devices_per_worker: Devices of one of them, > 0; a fraction if trials share a device.
    """

    seconds_per_epoch: float
    seconds_per_run: float
    n_workers: int
    devices_per_worker: float


def measured_pace(spent: Spent, *, n_occupied: int, n_workers: int, devices_per_worker: float) -> Pace:
    """Return how fast a study trains, by all that it has trained so far.

    Args:
        spent: What it has cost.
        n_occupied: Workers that have a run now; they are in the middle of an epoch, on average.
        n_workers: See `Pace`.
        devices_per_worker: See `Pace`.
    """
    per_epoch = per_run = math.nan
    if spent.n_epochs:
        # Without the epochs' own times, all of a worker's time counts as theirs.
        epoch_seconds = spent.epoch_seconds or spent.worker_seconds * spent.n_epochs / (
            spent.n_epochs + 0.5 * n_occupied
        )
        per_epoch = epoch_seconds / spent.n_epochs
        beside = spent.worker_seconds - per_epoch * (spent.n_epochs + 0.5 * n_occupied)
        per_run = max(0.0, beside) / max(1, spent.n_runs)
    return Pace(
        seconds_per_epoch=per_epoch,
        seconds_per_run=per_run,
        n_workers=n_workers,
        devices_per_worker=devices_per_worker,
    )


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
    """What a load takes: seconds of wall time, and seconds of devices summed over them, NaN if unknown; and epochs."""

    wall_seconds: float
    device_seconds: float
    n_epochs: float


def cost(loads: Iterable[Load], pace: Pace) -> Cost:
    """Return what the loads take one after the other; more workers never make it longer.

    A load of work w in runs of length p takes ``w/W + (1 - 1/W) p/2`` on W workers, at least one run: half of what the
    last runs of a list can cost at worst, while the other workers wait for them.

    Source: Graham, "Bounds on multiprocessing timing anomalies", SIAM J. Appl. Math. 17 (1969), list scheduling.
    """
    wall = device = n_epochs = 0.0
    for load in loads:
        if load.n_runs == 0:
            continue
        longest = load.n_epochs * pace.seconds_per_epoch + pace.seconds_per_run
        work = load.n_runs * longest
        wall += max(longest, 0.5 * longest + (work - 0.5 * longest) / pace.n_workers)
        device += work * pace.devices_per_worker
        n_epochs += load.n_runs * load.n_epochs
    return Cost(wall_seconds=wall, device_seconds=device, n_epochs=n_epochs)


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


def is_due(*, n_finished: int, n_trials: int | None, n_workers: int) -> bool:
    """Whether a stage has enough finished trials for a forecast: three, a tenth of those counted, and one a worker."""
    if n_trials is None:
        return n_finished >= max(3, n_workers)
    return n_finished >= min(n_trials, max(3, math.ceil(n_trials / 10), n_workers))

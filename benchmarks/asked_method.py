"""Any method that is asked for trainings and told their results, on workers that are simulated."""

from __future__ import annotations

import heapq
import math
import random
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from epoch_meter import BudgetSpentError, EpochMeter
from quality_surface import Point

SPEED_SPREAD = 0.5
"""Standard deviation of the logarithm of a training's speed where there are several workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A training that a method asks for.

    Attributes:
        point: Hyperparameters.
        n_epochs: Epochs in all, counted from the training's beginning.
        continues: What tells the configuration apart whose longest training so far goes on, None to begin anew.
        handle: The method's own object for it.
    """

    point: Point
    n_epochs: int
    continues: Hashable | None = None
    handle: Any = None


class AskedMethod(Protocol):
    """A method; more is better in all that it is told."""

    def ask(self) -> Job | None:
        """Return the next training, or None if there is none before another result is known."""

    def goes_on(self, job: Job, epoch: int, value: float) -> bool:
        """Hear what an epoch showed, and say whether the training goes on."""

    def tell(self, job: Job, n_epochs: int, best: float) -> None:
        """Hear how many epochs a training that is over has had, and the best value of them."""


@dataclass(slots=True, kw_only=True)
class Suggestions:
    """What a method did.

    Attributes:
        n: Trainings that it asked for.
        seconds: Processor time that it took for that, and for listening.
    """

    n: int = 0
    seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class _Training:
    job: Job
    epoch: int
    best: float
    epoch_time: float


class Workers:
    """Asynchronous workers, of which each trains at a speed that its training draws; a single one keeps no time.

    Args:
        method: Who is asked.
        meter: Pays for the epochs.
        n_workers: At least one.
        seed: Of the speeds.
    """

    def __init__(self, method: AskedMethod, meter: EpochMeter, *, n_workers: int, seed: int) -> None:
        self.suggestions = Suggestions()
        self._method = method
        self._meter = meter
        self._speeds = random.Random(seed)
        self._trained: dict[Hashable, tuple[int, float]] = {}  # epochs and the best value so far
        self._n_idle = n_workers
        self._under_way: list[tuple[float, int, _Training]] = []
        self._n_begun = 0
        self._now = 0.0

    def run(self) -> Suggestions:
        """Run until the budget is spent.

        Raises:
            RuntimeError: If the method asks for nothing although all workers are idle.
        """
        try:
            while True:
                self._hand_out()
                if not self._under_way:
                    raise RuntimeError("the method asks for no training, and none is under way.")
                self._now, _, training = heapq.heappop(self._under_way)
                self._train(training)
        except BudgetSpentError:
            return self.suggestions

    def _hand_out(self) -> None:
        while self._n_idle:
            began = time.process_time()
            job = self._method.ask()
            self.suggestions.seconds += time.process_time() - began
            if job is None:
                return
            self.suggestions.n += 1
            self._n_idle -= 1
            epoch, best = 0, -math.inf
            known = None if job.continues is None else self._trained.get(job.continues)
            if known is not None and known[0] < job.n_epochs:
                epoch, best = known
                self._meter.go_on(n_epochs=epoch)
            speed = math.exp(self._speeds.gauss(0.0, SPEED_SPREAD))
            self._schedule(_Training(job=job, epoch=epoch, best=best, epoch_time=speed))

    def _train(self, training: _Training) -> None:
        job = training.job
        training.epoch += 1
        value = self._meter.train(job.point, training.epoch)
        training.best = max(training.best, value)
        began = time.process_time()
        if self._method.goes_on(job, training.epoch, value) and training.epoch < job.n_epochs:
            self._schedule(training)
        else:
            self._n_idle += 1
            self._method.tell(job, training.epoch, training.best)
            if job.continues is not None:
                self._trained[job.continues] = (training.epoch, training.best)
        self.suggestions.seconds += time.process_time() - began

    def _schedule(self, training: _Training) -> None:
        self._n_begun += 1
        heapq.heappush(self._under_way, (self._now + training.epoch_time, self._n_begun, training))

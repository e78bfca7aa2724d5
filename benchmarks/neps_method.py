"""NePS through its own package, its settings left at the defaults."""

from __future__ import annotations

import logging
import random
from typing import Any

import numpy as np
from asked_method import Job
from quality_surface import Number, Surface, SurfaceRange

_EPOCHS = "n_epochs"  # no hyperparameter of a surface has that name


class NepsMethod:
    """One of NePS's optimizers, asked and told, a trial at a time.

    Source: Stoll et al., "Neural pipeline search (NePS)", https://automl.github.io/neps.

    Args:
        surface: What is searched.
        is_multi_fidelity: Whether epochs are a fidelity, for which NePS takes Hyperband by itself, or all trainings are
            full ones, for which it takes Bayesian optimization.
        seed: Of everything random.
    """

    def __init__(self, surface: Surface, *, is_multi_fidelity: bool, seed: int) -> None:
        import neps
        import torch

        # It draws from these alone.
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        logging.getLogger("neps").setLevel(logging.ERROR)
        self._ranges = surface.ranges
        self._n_epochs = surface.n_epochs
        parameters = {each.name: _parameter(each) for each in surface.ranges}
        if is_multi_fidelity:
            parameters[_EPOCHS] = neps.HPOInteger(lower=1, upper=surface.n_epochs, is_fidelity=True)
        make = neps.algorithms.hyperband if is_multi_fidelity else neps.algorithms.bayesian_optimization
        self._neps = neps.AskAndTell(make(neps.SearchSpace(parameters)))

    def ask(self) -> Job:
        trial = self._neps.ask()
        point = {each.name: _number(each, trial.config[each.name]) for each in self._ranges}
        n_epochs = int(trial.config.get(_EPOCHS, self._n_epochs))
        return Job(point=point, n_epochs=n_epochs, continues=tuple(sorted(point.items())), handle=trial)

    def goes_on(self, job: Job, epoch: int, value: float) -> bool:
        del job, epoch, value
        return True

    def tell(self, job: Job, n_epochs: int, best: float) -> None:
        del n_epochs
        self._neps.tell(job.handle, 1.0 - best)


def _parameter(each: SurfaceRange) -> Any:
    from neps import HPOFloat, HPOInteger

    if each.is_int:
        return HPOInteger(lower=int(each.low), upper=int(each.high), log=each.is_log)
    return HPOFloat(lower=each.low, upper=each.high, log=each.is_log)


def _number(each: SurfaceRange, value: Any) -> Number:
    return int(value) if each.is_int else float(value)

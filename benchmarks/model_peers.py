"""SMAC3, DEHB and HEBO through their own packages, their settings left at the defaults."""

from __future__ import annotations

import logging
import random
import tempfile
import warnings
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
from asked_method import Job
from quality_surface import Point, Surface, SurfaceRange

_ETA = 3


class SmacMethod:
    """SMAC3's blackbox or multi-fidelity facade; the initial design follows from the trials that it is told to expect.

    Source: Lindauer et al., "SMAC3", JMLR 23 (2022).

    Args:
        surface: What is searched.
        is_multi_fidelity: Which of the two facades.
        budget_epochs: Of the run; the facade is told as many trials as there are trainings of full length in it.
        seed: Of everything random.
    """

    def __init__(self, surface: Surface, *, is_multi_fidelity: bool, budget_epochs: int, seed: int) -> None:
        import smac

        self._n_epochs = surface.n_epochs
        self._files = tempfile.TemporaryDirectory()
        self._answer = smac.runhistory.TrialValue
        fidelities = {"min_budget": 1, "max_budget": surface.n_epochs} if is_multi_fidelity else {}
        scenario = smac.Scenario(
            _configuration_space(surface, seed),
            deterministic=True,
            n_trials=max(1, budget_epochs // surface.n_epochs),
            output_directory=self._files.name,
            seed=seed,
            **fidelities,
        )
        facade = smac.MultiFidelityFacade if is_multi_fidelity else smac.BlackBoxFacade
        target = _target_at_fidelity if is_multi_fidelity else _target
        self._facade = facade(scenario, target, overwrite=True, logging_level=logging.ERROR)

    def ask(self) -> Job | None:
        try:
            info = self._facade.ask()
        except StopIteration:
            return None
        point = _plain(info.config)
        n_epochs = self._n_epochs if info.budget is None else max(1, round(info.budget))
        return Job(point=point, n_epochs=n_epochs, continues=tuple(sorted(point.items())), handle=info)

    def goes_on(self, job: Job, epoch: int, value: float) -> bool:
        del job, epoch, value
        return True

    def tell(self, job: Job, n_epochs: int, best: float) -> None:
        del n_epochs
        self._facade.tell(job.handle, self._answer(cost=1.0 - best), save=False)


class DehbMethod:
    """DEHB, asked and told on the unit cube.

    Source: Awad et al., "DEHB: evolutionary Hyperband for scalable, robust and efficient hyperparameter optimization",
    IJCAI 2021.
    """

    def __init__(self, surface: Surface, *, seed: int) -> None:
        from dehb import DEHB
        from loguru import logger

        logger.remove()
        self._ranges = surface.ranges
        self._files = tempfile.TemporaryDirectory()
        self._dehb = DEHB(
            dimensions=len(surface.ranges),
            min_fidelity=1,
            max_fidelity=surface.n_epochs,
            eta=_ETA,
            n_workers=1,
            seed=seed,
            save_freq=None,
            output_path=self._files.name,
        )

    def ask(self) -> Job:
        job = self._dehb.ask()
        units = [float(unit) for unit in job["config"]]
        point = {each.name: each.from_unit(unit) for each, unit in zip(self._ranges, units, strict=True)}
        return Job(point=point, n_epochs=max(1, round(job["fidelity"])), continues=tuple(units), handle=job)

    def goes_on(self, job: Job, epoch: int, value: float) -> bool:
        del job, epoch, value
        return True

    def tell(self, job: Job, n_epochs: int, best: float) -> None:
        self._dehb.tell(job.handle, {"fitness": 1.0 - best, "cost": float(n_epochs)})


class HeboMethod:
    """HEBO, one suggestion at a time: several workers do not know of each other's.

    Source: Cowen-Rivers et al., "HEBO: pushing the limits of sample-efficient hyperparameter optimisation", JAIR 2022.
    """

    def __init__(self, surface: Surface, *, seed: int) -> None:
        import torch
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.hebo import HEBO

        # It draws from these alone.
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        warnings.filterwarnings("ignore", module="hebo|GPy|paramz|pymoo|sklearn")
        self._ranges = surface.ranges
        self._n_epochs = surface.n_epochs
        self._hebo = HEBO(DesignSpace().parse([_hebo_range(each) for each in surface.ranges]))

    def ask(self) -> Job:
        with redirect_stdout(StringIO()):  # its libraries print what they try
            suggestion = self._hebo.suggest(n_suggestions=1)
        row = suggestion.iloc[0]
        point = {each.name: int(row[each.name]) if each.is_int else float(row[each.name]) for each in self._ranges}
        return Job(point=point, n_epochs=self._n_epochs, handle=suggestion)

    def goes_on(self, job: Job, epoch: int, value: float) -> bool:
        del job, epoch, value
        return True

    def tell(self, job: Job, n_epochs: int, best: float) -> None:
        del n_epochs
        self._hebo.observe(job.handle, np.array([[1.0 - best]]))


def _hebo_range(each: SurfaceRange) -> dict[str, Any]:
    kinds = {"log": "pow", "linear": "num", "int": "int", "int_log": "pow_int"}
    return {"name": each.name, "type": kinds[each.kind], "lb": each.low, "ub": each.high}


def _configuration_space(surface: Surface, seed: int) -> Any:
    from ConfigSpace import ConfigurationSpace, Float, Integer

    space = ConfigurationSpace(seed=seed)
    for each in surface.ranges:
        if each.is_int:
            space.add(Integer(each.name, (int(each.low), int(each.high)), log=each.is_log))
        else:
            space.add(Float(each.name, (each.low, each.high), log=each.is_log))
    return space


def _plain(configuration: Any) -> Point:
    return {name: value.item() if hasattr(value, "item") else value for name, value in dict(configuration).items()}


def _target(config: Any, seed: int = 0) -> float:
    """Have the signature that SMAC looks at; asked and told, it never calls the function."""
    raise RuntimeError("SMAC trained by itself, where it was to be told")


def _target_at_fidelity(config: Any, seed: int = 0, budget: float = 0.0) -> float:
    """Likewise, for the facade that chooses fidelities."""
    return _target(config, seed)

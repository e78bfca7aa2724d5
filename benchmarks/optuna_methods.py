"""Samplers and pruners in a study of Optuna's as their users call them, their settings left at the defaults."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from asked_method import Job
from quality_surface import Number, Surface, SurfaceRange


class OptunaMethod:
    """A study of Optuna's that is asked and told.

    Args:
        surface: What is searched.
        sampler: Makes the sampler of a seed.
        pruner: Makes the pruner; None for none.
        seed: Given to the sampler.
    """

    def __init__(
        self,
        surface: Surface,
        *,
        sampler: Callable[[int], Any],
        pruner: Callable[[Any, int], Any] | None = None,
        seed: int,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # Those of Optuna's classes that are experimental say so.
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._surface = surface
        self._prunes = pruner is not None
        self._pruned = optuna.trial.TrialState.PRUNED
        self._study = optuna.create_study(
            study_name=f"quality-{seed}",  # of which Hyperband makes the trials' brackets
            direction="maximize",
            sampler=sampler(seed),
            pruner=optuna.pruners.NopPruner() if pruner is None else pruner(optuna.pruners, surface.n_epochs),
        )

    def ask(self) -> Job:
        trial = self._study.ask()
        point = {each.name: _suggest(trial, each) for each in self._surface.ranges}
        return Job(point=point, n_epochs=self._surface.n_epochs, handle=trial)

    def goes_on(self, job: Job, epoch: int, value: float) -> bool:
        if not self._prunes:
            return True
        job.handle.report(value, epoch)
        return not job.handle.should_prune()

    def tell(self, job: Job, n_epochs: int, best: float) -> None:
        if n_epochs < job.n_epochs:
            self._study.tell(job.handle, state=self._pruned)
        else:
            self._study.tell(job.handle, best)


def _suggest(trial: Any, each: SurfaceRange) -> Number:
    if each.is_int:
        value: Number = trial.suggest_int(each.name, int(each.low), int(each.high), log=each.is_log)
    else:
        value = trial.suggest_float(each.name, each.low, each.high, log=each.is_log)
    return value


def optunas(name: str, seed: int) -> Any:
    """Return a sampler of Optuna's, by the name of its class."""
    import optuna

    return getattr(optuna.samplers, name)(seed=seed)


def policy(seed: int) -> Any:
    """Return zeroin's policy."""
    from search.samplers.policy import PolicySampler

    return PolicySampler(seed=seed)


def hyperband(pruners: Any, n_epochs: int) -> Any:
    """Return Optuna's Hyperband from one epoch up to all."""
    return pruners.HyperbandPruner(min_resource=1, max_resource=n_epochs)


def median(pruners: Any, n_epochs: int) -> Any:
    """Return Optuna's median rule."""
    del n_epochs
    return pruners.MedianPruner()


def asha(pruners: Any, n_epochs: int) -> Any:
    """Return Optuna's asynchronous successive halving from one epoch on."""
    del n_epochs
    return pruners.SuccessiveHalvingPruner(min_resource=1)

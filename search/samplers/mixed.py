"""The sampler `mixed`: `staged_gp` and `policy` in turns, which err in different ways.

The Gaussian process is the better one where its model holds, and stays with a poor place for long where it does not.
The policy draws about what is promising, so that one misleading trial costs less. Each learns from the trials of both.
"""

from __future__ import annotations

import secrets
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from search.samplers.coordinates import UnitCoordinates
from search.samplers.policy import PolicySampler
from search.samplers.seeded_sampler import SeededSampler
from search.samplers.staged_gp import StagedGPSampler
from search.samplers.turns import turn


class MixedSampler(SeededSampler):
    """Two samplers in turns: single objective, any parameters, conditional ones too.

    Args:
        max_epochs: Epochs of a full training, >= 1, with which the steps of `trial.report` are compared; None for the
            largest one so far.
        n_startup_trials: Trials with a value before the samplers learn, >= 1; up to then points are evenly spread.
        seed: Of all draws, >= 0; None for one that differs from run to run. Equal seeds and equal trials give equal
            suggestions.

    Raises:
        ValueError: If `max_epochs` or `n_startup_trials` is less than 1.
    """

    def __init__(self, *, max_epochs: int | None = None, n_startup_trials: int = 5, seed: int | None = None) -> None:
        seed = secrets.randbits(64) if seed is None else seed
        super().__init__(seed=seed, n_startup_trials=n_startup_trials)
        self._members: tuple[SeededSampler, ...] = (
            StagedGPSampler(
                max_epochs=max_epochs, n_startup_trials=n_startup_trials, seed=seed, proposals=self._proposals
            ),
            PolicySampler(n_startup_trials=n_startup_trials, seed=seed, proposals=self._proposals),
        )

    def _proposed(self, study: Study, trial: FrozenTrial, coordinates: UnitCoordinates) -> dict[str, Any]:
        """Return what the sampler whose turn it is proposes."""
        member = self._members[turn(trial.number, n_members=len(self._members), seed=self._seed)]
        return member.sample_relative(study, trial, dict(coordinates.distributions))

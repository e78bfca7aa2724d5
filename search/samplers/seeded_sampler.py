"""What the samplers of this package share: one objective, all parameters at once, draws that follow from a seed."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from search.one_thread import one_thread
from search.samplers.coordinates import Array, Cells, UnitCoordinates
from search.samplers.observed_rewards import VALUED_STATES
from search.samplers.proposals import Proposals
from search.samplers.region import Intervals, Region


class SeededSampler(BaseSampler):
    """A sampler whose draws are a function of its seed and of the trial's number.

    Threads that ask at the same time are answered one after the other; each sees what was proposed to those before it.

    Args:
        seed: Of all draws, >= 0; None for one that differs from run to run.
        n_startup_trials: Trials with a value before there is something to learn from, >= 1.
        cells: Of parameters, by name, whose values do not all differ.
        within: Coordinates of parameters, by name, to which suggestions are held; None for all.
        proposals: Of samplers that share a study and this process; None for the sampler's own.

    Raises:
        ValueError: If `n_startup_trials` is less than 1.
    """

    def __init__(
        self,
        *,
        seed: int | None,
        n_startup_trials: int,
        cells: Mapping[str, Cells] | None = None,
        within: Mapping[str, Intervals] | None = None,
        proposals: Proposals | None = None,
    ) -> None:
        if n_startup_trials < 1:
            raise ValueError(f"`n_startup_trials >= 1` must hold, but got {n_startup_trials!r}.")
        self._seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._n_startup_trials = n_startup_trials
        self._cells = cells
        self._within = within or {}
        self._proposals = proposals or Proposals()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return all parameters that trials with a value had, conditional ones too, with their last distributions."""
        space: dict[str, BaseDistribution] = {}
        for each in study.get_trials(deepcopy=False, states=VALUED_STATES):
            space.update(each.distributions)
        return {name: space[name] for name in sorted(space) if not space[name].single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return all parameters of the search space that can differ."""
        self._require_one_objective(study)
        coordinates = UnitCoordinates.of(search_space, self._cells)
        if not coordinates.names:
            return {}
        with self._proposals.lock, one_thread():
            params = self._proposed(study, trial, coordinates)
            self._proposals.remember(trial, params)
        return params

    @abstractmethod
    def _proposed(self, study: Study, trial: FrozenTrial, coordinates: UnitCoordinates) -> dict[str, Any]:
        """Return the parameters of a trial; there is at least one."""

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter that no trial with a value had, uniformly on its scale where suggestions may lie."""
        self._require_one_objective(study)
        rng = np.random.default_rng([self._seed, trial.number, zlib.crc32(param_name.encode())])
        coordinates = UnitCoordinates({param_name: param_distribution})
        return coordinates.decode(self._placed(coordinates, rng.random(1)))[param_name]

    def _region(self, coordinates: UnitCoordinates) -> Region:
        """Return where suggestions may lie."""
        return Region.of(coordinates.names, self._within)

    def _placed(self, coordinates: UnitCoordinates, shares: Array) -> Array:
        """Return the point at these shares of the way through where suggestions may lie, shape ``(d,)``."""
        point: Array = self._region(coordinates).point(shares[None])[0]
        return point

    def _even(self, coordinates: UnitCoordinates, number: int) -> Array:
        """Return the trial's point of a scrambled Sobol sequence, shape ``(d,)``: those of successive trials spread."""
        sequence = qmc.Sobol(len(coordinates.names), scramble=True, seed=np.random.default_rng(self._seed))
        if number > 0:
            sequence.fast_forward(number)
        point: Array = sequence.random(1)[0]
        return point

    def _require_one_objective(self, study: Study) -> None:
        if len(study.directions) > 1:
            raise ValueError(f"{type(self).__name__} has one objective, but the study has {len(study.directions)}.")

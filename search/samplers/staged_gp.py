"""The sampler `staged_gp`: a Gaussian process over all trials, short and long, each at its own number of epochs.

A short trial is a noisy observation of what it would have reached: `search.surrogate` models the whole learning curve,
so that trials of a few epochs tell where to train for many. The next point is where the expected improvement of the
final value is largest. A suggestion depends on the seed, the trial's number and the study's trials only.

Source: Swersky, Snoek and Adams, "Freeze-thaw Bayesian optimization", arXiv 1406.3896; Jones, Schonlau and Welch,
"Efficient global optimization of expensive black-box functions", 1998.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.samplers.acquisition import Proposer, first_new, log_expected_improvement
from search.samplers.activity import Activity
from search.samplers.candidates import Candidates
from search.samplers.coordinates import Array, Cells, Mask, UnitCoordinates
from search.samplers.curve_model import CurveModel
from search.samplers.history import History
from search.samplers.learning_curves import Curve, excerpt, learning_curves
from search.samplers.observed_rewards import FINISHED_STATES, without_retried
from search.samplers.proposals import Proposals
from search.samplers.region import Intervals, Region
from search.samplers.seeded_sampler import SeededSampler

EXPLORED_SHARE = 0.05
"""Share of the suggestions that are drawn from all of the region, whatever the model says."""

LEAST_DISTANCE = 0.03
"""In widths of the region: nearer to a known point in all coordinates, another training would teach next to nothing."""

_DISTANCE_SHARES = (1.0, 0.25, 0.0)  # of that distance, where all that is promising is that near

_LEAST_STEP = 0.3  # likewise, in half widths of a region

_MOST_DRAWS = 256  # until one is not a repetition

_STATES = (*FINISHED_STATES, TrialState.RUNNING)


class StagedGPSampler(SeededSampler):
    """Multi-fidelity Bayesian optimization: single objective, any parameters, conditional ones too.

    Args:
        max_epochs: Epochs of a full training, >= 1, with which the steps of `trial.report` are compared; None for the
            largest one so far.
        n_startup_trials: Trials with a value before the model is asked, >= 1; up to then points are evenly spread.
        seed: Of all draws, >= 0; None for one that differs from run to run. Equal seeds and equal trials give equal
            suggestions.
        half_width: Of the neighbourhood of the best trial in which suggestions lie, in ranges as far as `within` allows
            them, > 0; those trials have its choices. None for no neighbourhood.
        cells: Of parameters, by name, whose values do not all differ: suggestions do.
        within: Coordinates of parameters, by name, to which suggestions are held; the model learns from all trials.
        proposals: Of samplers that share a study and this process; None for the sampler's own.

    Raises:
        ValueError: If `max_epochs` or `n_startup_trials` is less than 1, or `half_width` not above 0.
    """

    def __init__(
        self,
        *,
        max_epochs: int | None = None,
        n_startup_trials: int = 5,
        seed: int | None = None,
        half_width: float | None = None,
        cells: Mapping[str, Cells] | None = None,
        within: Mapping[str, Intervals] | None = None,
        proposals: Proposals | None = None,
    ) -> None:
        super().__init__(seed=seed, n_startup_trials=n_startup_trials, cells=cells, within=within, proposals=proposals)
        if max_epochs is not None and max_epochs < 1:
            raise ValueError(f"`max_epochs >= 1` must hold, but got {max_epochs!r}.")
        if half_width is not None and not half_width > 0.0:
            raise ValueError(f"`half_width > 0` must hold, but got {half_width!r}.")
        self._max_epochs = max_epochs
        self._half_width = half_width

    def _proposed(self, study: Study, trial: FrozenTrial, coordinates: UnitCoordinates) -> dict[str, Any]:
        """Return what is expected to improve the final value most."""
        names = coordinates.distributions.keys()
        trials = self._proposals.shown(study.get_trials(deepcopy=False, states=_STATES), coordinates)
        trials = without_retried(
            [each for each in trials if each.number != trial.number and not names.isdisjoint(each.params)]
        )
        all_curves = learning_curves(trials, direction=study.direction, horizon=self._max_epochs)
        curves = [all_curves[index] for index in excerpt(all_curves)]
        rng = np.random.default_rng([self._seed, trial.number])
        n_known = sum(
            bool(curve.best) and each.state is not TrialState.FAIL
            for each, curve in zip(trials, all_curves, strict=True)
        )

        @cache
        def history() -> History:  # most suggestions need none
            return History(coordinates, *_finished_and_running(trials))

        point: Array | None = None
        if n_known < self._n_startup_trials:
            point = self._drawn(coordinates, history(), rng, first=self._even(coordinates, trial.number))
        elif self._half_width is not None or rng.random() >= EXPLORED_SHARE:
            point = self._best_point(coordinates, curves, rng, are_new=lambda units: history().are_new(units))
        return coordinates.decode(self._drawn(coordinates, history(), rng) if point is None else point)

    def _drawn(
        self, coordinates: UnitCoordinates, history: History, rng: np.random.Generator, *, first: Array | None = None
    ) -> Array:
        """Return a point that no trial had, if there is one among `first` and uniform draws."""
        shares = rng.random((_MOST_DRAWS, len(coordinates.names)))
        points = self._region(coordinates).point(shares if first is None else np.vstack([first, shares]))
        point: Array = points[np.argmax(history.are_new(coordinates.snap(points)))]
        return point

    def _best_point(
        self,
        coordinates: UnitCoordinates,
        curves: Sequence[Curve],
        rng: np.random.Generator,
        *,
        are_new: Callable[[Array], Mask],
    ) -> Array | None:
        """Return which new point is expected to improve the final value most; None if none is found."""
        model = CurveModel(coordinates, curves, horizon=self._max_epochs)
        ends = Activity.learned(coordinates, model.units, ~np.isnan(model.units))
        whole = self._region(coordinates)

        def acquisition(units: Array) -> Array:
            return log_expected_improvement(*model.final(ends.masked(units)), best=model.best)

        ordered = model.best_first()
        around = np.nan_to_num(ordered[np.argsort(~whole.contains(ordered), kind="stable")], nan=0.5)
        distances = [share * self._least_distance() * whole.widths for share in _DISTANCE_SHARES]
        found = []
        for place in self._places(coordinates, curves, model, whole):
            proposer = Proposer(coordinates, rng, place, whole.widths)
            candidates = Candidates.enumerated(coordinates, place, acquisition, are_new=are_new)
            candidates = candidates or Candidates.searched(proposer, acquisition, around=around)
            promising = candidates.promising
            if coordinates.is_finite:  # the model may have been shown some of the trials only
                promising = promising[are_new(promising)]
            for apart in distances:
                new = first_new(promising, model.units, is_choice=coordinates.is_choice, distance=apart)
                if new is not None:
                    return new
            found.append(candidates.looked_at)
        looked_at = np.vstack(found)
        left = looked_at[are_new(looked_at)]
        return left[0] if len(left) else None

    def _places(
        self, coordinates: UnitCoordinates, curves: Sequence[Curve], model: CurveModel, whole: Region
    ) -> list[Region]:
        """Return where to look, one after the other: what is near may be known, all of it."""
        if self._half_width is None:
            return [whole]
        is_inside = whole.contains(model.units)
        ranks = [(bool(each.best), inside, each.reached) for each, inside in zip(curves, is_inside, strict=True)]
        center = np.nan_to_num(model.units[ranks.index(max(ranks))], nan=0.5)
        return [whole.around(center, half_width=self._half_width, is_choice=coordinates.is_choice), whole]

    def _least_distance(self) -> float:
        return LEAST_DISTANCE if self._half_width is None else min(LEAST_DISTANCE, _LEAST_STEP * self._half_width)


def _finished_and_running(trials: Sequence[FrozenTrial]) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    finished = [each for each in trials if each.state.is_finished()]
    return finished, [each for each in trials if not each.state.is_finished()]

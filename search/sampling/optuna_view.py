"""Optuna's samplers on a private in-memory study whose distributions are the stage's box, or all that a model knows.

A sampler that is shown ranges which change between trials silently loses part of its model; here every trial of the
view has the same distributions. Floats (and integers with an extra zero) are shown by their unit coordinate, so that
every scale and every share of zeros works with every sampler.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from search.comparable_rewards import Observation
from search.one_thread import one_thread
from search.samplers.coordinates import Cells, UnitCoordinates
from search.samplers.region import Intervals
from search.sampling.beyond import intervals, moved_inside
from search.sampling.request import ProposalRequest
from search.search_space import Choices, Dimension, Hyperparameters, IntLogRange, IntRange, SearchSpace, Value

_UNIT = FloatDistribution(0.0, 1.0)
_INACTIVE_UNIT = 0.5
_NARROWEST_CELL = 2.0**-14  # of the unit coordinate; steps of a search are longer
_MOST_KNOWN = 4096
_MOMENT = datetime(2000, 1, 1)  # a trial must have begun some time


def tpe_point(request: ProposalRequest) -> dict[str, Value]:
    """Return what the multivariate tree-structured Parzen estimator proposes, running trials counted as bad.

    Of trials that break constraints, only the total violation counts. Of several objectives, the good trials are those
    of the first fronts, of the last of these the ones that add most to the hypervolume.

    Source: Watanabe, "Tree-structured Parzen estimator: understanding its algorithm components and their roles for
    better empirical performance", arXiv 2304.11127; Ozaki et al., "Multiobjective tree-structured Parzen estimator for
    computationally expensive optimization problems", GECCO 2020.
    """
    view = _view(request.box)
    losses, excesses = _losses(request), _excesses(request.observations)
    trials = [
        view.finished(each.hyperparameters, own, missed)
        for each, own, missed in zip(request.observations, losses, excesses, strict=True)
    ]
    trials += [view.running(each) for each in request.running]
    sampler = _ViewTPESampler(trials[: len(request.observations)], seed=request.trial_seed)
    return _ask(sampler, view, trials, n_objectives=len(losses[0]), only_active=True)


def gp_point(request: ProposalRequest) -> dict[str, Value]:
    """Return what Optuna's Gaussian process proposes (log expected improvement; loads torch).

    With constraints it is the improvement times the chance of keeping them, with several objectives that of the
    hypervolume. Inactive dimensions are filled in with the middle of their range, so that conditional ones are in the
    model too. What is worse than the median is cut off as far below it as the best one is above: a diverged trial must
    not stretch the scale on which the good ones differ.
    """
    view = _view(request.box)
    columns = [_winsorized(column) for column in zip(*_losses(request), strict=True)]
    losses, excesses = list(zip(*columns, strict=True)), _excesses(request.observations)
    trials = [
        view.finished(_filled_in(each.hyperparameters, request), own, missed)
        for each, own, missed in zip(request.observations, losses, excesses, strict=True)
    ]
    trials += [view.running(_filled_in(each, request)) for each in request.running]
    sampler = GPSampler(n_startup_trials=1, seed=request.trial_seed, warn_independent_sampling=False)
    with one_thread():  # torch may have been loaded since the search began
        return _ask(sampler, view, trials, n_objectives=len(losses[0]), only_active=False)


def staged_gp_point(request: ProposalRequest) -> dict[str, Value]:
    """Return what zeroin's Gaussian process proposes: it sees each trial at its own number of epochs.

    It follows one number: with constraints or several objectives, the trial's place among all, which has no curve.
    """
    return _staged_gp_point(request, half_width=None)


def refined_point(request: ProposalRequest) -> dict[str, Value]:
    """Return what the same model proposes near the best trial, sometimes nearer, sometimes farther."""
    from search.samplers.portfolio import refined_half_width

    return _staged_gp_point(request, half_width=refined_half_width(request.trial_seed))


def _staged_gp_point(request: ProposalRequest, *, half_width: float | None) -> dict[str, Value]:
    from search.samplers.staged_gp import StagedGPSampler

    view, sign = _view(request.known), request.direction.sign
    trials = []
    for each in request.all_observations:
        course = () if each.losses or each.excesses else tuple((n, -sign * reward) for n, reward in each.course)
        loss = course[-1][1] if course else -sign * each.reward
        trials.append(view.finished(each.hyperparameters, (loss,), (), course))
    trials += [view.running(each) for each in request.running]
    sampler = StagedGPSampler(
        max_epochs=request.target_epochs,
        n_startup_trials=1,
        seed=request.trial_seed,
        half_width=half_width,
        cells=view.cells,
        within=_held_to_box(request, view),
    )
    return _ask_inside(request, view, sampler, trials)


def policy_point(request: ProposalRequest) -> dict[str, Value]:
    """Return what zeroin's policy draws: reinforcement learning on all trials, those under way as well.

    It follows one number: with constraints or several objectives, the trial's place among all.
    """
    from search.samplers.policy import PolicySampler

    view, sign = _view(request.known), request.direction.sign
    trials = [view.finished(each.hyperparameters, (-sign * each.reward,), ()) for each in request.all_observations]
    trials += [view.running(each) for each in request.running]
    sampler = PolicySampler(
        seed=request.trial_seed, n_startup_trials=1, cells=view.cells, within=_held_to_box(request, view)
    )
    return _ask_inside(request, view, sampler, trials)


def view_coordinates(box: SearchSpace) -> UnitCoordinates:
    """Return the coordinates in which models see a box."""
    return UnitCoordinates.of(_view(box).distributions, _view(box).cells)


def shown_parameters(box: SearchSpace, hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Return hyperparameters as models see them, under `view_coordinates`."""
    params, _ = _view(box).coordinates(hyperparameters)
    return params


def _losses(request: ProposalRequest) -> list[tuple[float, ...]]:
    """Return what the model minimizes, one vector for each observation."""
    return [each.losses or (-request.direction.sign * each.reward,) for each in request.observations]


def _excesses(observations: Sequence[Observation]) -> list[tuple[float, ...]]:
    """Return by how much each observation misses each constraint; empty vectors if there are none.

    A diverged one, which may never have got as far as being measured, misses all of them by as much as any does.
    """
    columns = list(zip(*(each.excesses for each in observations if each.excesses), strict=True))
    worst = tuple(max(1.0, *column) for column in columns)
    none_missed = (0.0,) * len(columns)
    return [worst if each.diverged else each.excesses or none_missed for each in observations]


def _winsorized(losses: Sequence[float]) -> list[float]:
    """Return the losses, none further above the median than the least is below it."""
    median = statistics.median(losses)
    ceiling = median + (median - min(losses))
    return [min(loss, ceiling) for loss in losses]


class _Shown(FrozenTrial):
    """A trial of the private study, which nobody else has: storing it needs no copy, most of what asking would cost."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shown:
        return self


class _ViewTPESampler(TPESampler):
    """The estimator for a private study, in which one name has one distribution: no trial's need be compared.

    Args:
        finished: Trials of the study, at least one.
        seed: Of its random numbers.
    """

    def __init__(self, finished: list[FrozenTrial], *, seed: int) -> None:
        super().__init__(n_startup_trials=1, seed=seed)
        self._in_all = set(finished[0].distributions).intersection(*(trial.distributions for trial in finished))
        self._distributions = finished[0].distributions

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the distributions of the parameters that every finished trial has, as Optuna finds them."""
        distributions = {name: self._distributions[name] for name in sorted(self._in_all)}
        return {name: each for name, each in distributions.items() if not each.single()}


class _View:
    """Trials and proposals as the private study holds them: one distribution for each dimension.

    Attributes:
        box: The ranges.
        distributions: By the dimension's name.
        cells: Of those that are shown by their unit coordinate although they own parts of it.
    """

    def __init__(self, box: SearchSpace) -> None:
        self.box = box
        self.distributions = {dimension.name: _distribution(dimension) for dimension in box}
        self.cells = {dimension.name: _cells(dimension) for dimension in box if dimension.zero_share > 0.0}
        self._known: dict[tuple[tuple[str, Value], ...], tuple[dict[str, Any], dict[str, BaseDistribution]]] = {}

    def finished(
        self,
        hyperparameters: Hyperparameters,
        losses: Sequence[float],
        excesses: Sequence[float],
        course: tuple[tuple[int, float], ...] = (),
    ) -> FrozenTrial:
        """Return a complete trial of the private study, with what it had lost on the way."""
        trial = self._shown(hyperparameters, TrialState.COMPLETE, losses, course)
        for index, excess in enumerate(excesses):
            trial.set_constraint(str(index), excess)
        return trial

    def running(self, hyperparameters: Hyperparameters) -> FrozenTrial:
        """Return a trial of the private study that is under way."""
        return self._shown(hyperparameters, TrialState.RUNNING, None)

    def suggest(self, trial: Trial, dimension: Dimension) -> Value:
        """Return the sampler's proposal for one dimension, in the hyperparameter's own unit."""
        distribution = self.distributions[dimension.name]
        if isinstance(distribution, CategoricalDistribution):
            assert isinstance(dimension.range, Choices)
            value = trial.suggest_categorical(dimension.name, dimension.range.values)
            assert value is not None
            return value
        if isinstance(distribution, IntDistribution):
            return trial.suggest_int(dimension.name, distribution.low, distribution.high, log=distribution.log)
        return dimension.from_unit(min(max(trial.suggest_float(dimension.name, 0.0, 1.0), 0.0), 1.0))

    def _shown(
        self,
        hyperparameters: Hyperparameters,
        state: TrialState,
        losses: Sequence[float] | None,
        course: tuple[tuple[int, float], ...] = (),
    ) -> FrozenTrial:
        params, distributions = self.coordinates(hyperparameters)
        return _Shown(
            number=-1,
            trial_id=-1,
            state=state,
            value=None,
            values=losses,
            datetime_start=_MOMENT,
            datetime_complete=_MOMENT if state.is_finished() else None,
            params=params,
            distributions=distributions,
            user_attrs={},
            system_attrs={},
            intermediate_values=dict(course),
        )

    def coordinates(self, hyperparameters: Hyperparameters) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """Return the parameters as the private study has them, remembered: most trials are shown again and again."""
        key = tuple(hyperparameters.items())
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            present = [dimension for dimension in self.box if dimension.name in hyperparameters]
            distributions = {dimension.name: self.distributions[dimension.name] for dimension in present}
            params: dict[str, Any] = {}
            for dimension in present:
                value = hyperparameters[dimension.name]
                params[dimension.name] = dimension.to_unit(value) if distributions[dimension.name] is _UNIT else value
            self._known[key] = (params, distributions)
        return self._known[key]


@lru_cache(maxsize=4)
def _view(box: SearchSpace) -> _View:
    return _View(box)


def _held_to_box(request: ProposalRequest, view: _View) -> dict[str, Intervals]:
    """Return where a sampler that learns from more than the box may propose."""
    return intervals(request.box, view.box)


def _ask_inside(
    request: ProposalRequest, view: _View, sampler: BaseSampler, trials: list[FrozenTrial]
) -> dict[str, Value]:
    """Return what a sampler of one objective proposes, moved inside the box where rounding has left it."""
    point = _ask(sampler, view, trials, n_objectives=1, only_active=True)
    return {name: moved_inside(request.box[name], value) for name, value in point.items()}


def _ask(
    sampler: BaseSampler, view: _View, trials: list[FrozenTrial], *, n_objectives: int, only_active: bool
) -> dict[str, Value]:
    with _quiet():
        storage = InMemoryStorage()
        study = optuna.create_study(storage=storage, sampler=sampler, directions=["minimize"] * n_objectives)
        study_id = storage.get_study_id_from_name(study.study_name)
        for shown in trials:  # what `Study.add_trial` does, but for its checks
            storage.create_new_trial(study_id, template_trial=shown)
        trial = study.ask()
        values: dict[str, Value] = {}
        for dimension in view.box:
            active = dimension.is_active(values)
            if active or not only_active:
                suggested = view.suggest(trial, dimension)
                if active:
                    values[dimension.name] = suggested
    return values


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension.range, Choices):
        return CategoricalDistribution(dimension.range.values)
    if isinstance(dimension.range, IntRange | IntLogRange) and dimension.zero_share == 0.0:
        log = isinstance(dimension.range, IntLogRange)
        return IntDistribution(dimension.range.low, dimension.range.high, log=log)
    return _UNIT


def _cells(dimension: Dimension) -> Cells:
    """Return the parts of the unit coordinate that a value owns: the extra zero's, and those of integers beside it.

    Integers from the first one on whose part would be narrower than `_NARROWEST_CELL` own none.
    """
    zero = dimension.zero_share / 2.0
    ends, middles = [dimension.zero_share], [zero]
    if not isinstance(dimension.range, IntRange | IntLogRange):
        assert not isinstance(dimension.range, Choices)
        return Cells(ends=tuple(ends), middles=tuple(middles), at_one=zero if dimension.range.high == 0 else None)
    low, high = dimension.range.low, dimension.range.high
    for each in range(low, high + 1):
        end = dimension.unit_beside_zero(each + 0.5)
        if end - ends[-1] < _NARROWEST_CELL:
            break
        ends.append(math.inf if each == high else end)
        middles.append(dimension.to_unit(each))
    return Cells(ends=tuple(ends), middles=tuple(middles))


def _filled_in(hyperparameters: Hyperparameters, request: ProposalRequest) -> dict[str, Value]:
    return {
        dimension.name: hyperparameters.get(dimension.name, dimension.from_unit(_INACTIVE_UNIT))
        for dimension in request.box
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from announcing the private study, and from advice that only its own users could follow."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)

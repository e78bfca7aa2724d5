"""CMA-ES by replay: its state is what follows from telling it the stage's finished trials in order.

The covariance matrix adaptation draws random numbers only when asked, never when told, so its whole state can be
built anew for each proposal from the trials; nothing has to be stored, least of all a pickle. Replaying the asks as
well gives back the points as they were drawn, before integers were rounded and inactive dimensions were dropped.

Numeric dimensions are coordinates in ``[0, 1]``; choices, which CMA-ES cannot vary, come from TPE. Finished trials of
earlier stages in the box give the first mean and covariance. Of a long stage only an excerpt is told, and the point is
drawn with the trial's own seed then: a replay in full would cost more with each trial.

Source: Hansen, "The CMA evolution strategy: a tutorial", arXiv 1604.00772; Nomura et al., "Warm starting CMA-ES for
hyperparameter optimization", AAAI 2021 (arXiv 2012.06932).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cmaes import CMA, get_warm_start_mgd  # type: ignore[import-untyped]
from numpy.typing import NDArray

from search.comparable_rewards import Observation
from search.sampling.optuna_view import tpe_point
from search.sampling.quasi_random import quasi_random_point
from search.sampling.request import ProposalRequest
from search.search_space import Choices, Dimension, Value

_FIRST_SIGMA = 0.3  # of the range's width, so that the optimum is expected within a few standard deviations
_MIN_DIMENSIONS = 2  # a spare coordinate joins a single numeric dimension: older versions refuse fewer than two
_MIN_IMPORTED = 10  # the best tenth of them, at least one, is where the warm start begins
_N_RESAMPLINGS_PER_DIMENSION = 10

_Vector = NDArray[np.float64]


def evolution_point(request: ProposalRequest) -> dict[str, Value]:
    """Return the next point of the stage's CMA-ES run."""
    numeric = [dimension for dimension in request.box if not isinstance(dimension.range, Choices)]
    values = _choices(request, has_choices=len(numeric) < len(request.box))
    if not numeric:
        return values
    units = dict(zip((dimension.name for dimension in numeric), _next_vector(request, numeric).tolist(), strict=False))
    point: dict[str, Value] = {}
    for dimension in request.box:
        if dimension.is_active(point):
            known = isinstance(dimension.range, Choices)
            point[dimension.name] = values[dimension.name] if known else dimension.from_unit(units[dimension.name])
    return point


def _choices(request: ProposalRequest, *, has_choices: bool) -> dict[str, Value]:
    if not has_choices:
        return {}
    return tpe_point(request) if request.observations else quasi_random_point(request)


def _next_vector(request: ProposalRequest, numeric: Sequence[Dimension]) -> _Vector:
    """Replay the stage up to now and return the next point asked; shape ``(max(2, n_numeric),)``, in ``[0, 1]``."""
    optimizer = _start(request, numeric)
    size = optimizer.population_size
    n_generations = len(request.own) // size
    for generation in range(n_generations):
        told = request.own[generation * size : (generation + 1) * size]
        asked = [optimizer.ask() for _ in told]
        losses = [-request.direction.sign * each.reward for each in told]
        vectors = [_as_drawn(each, vector, numeric) for each, vector in zip(told, asked, strict=True)]
        optimizer.tell(list(zip(vectors, losses, strict=True)))
    n_before = 0 if request.is_excerpt else max(request.index_in_stage - n_generations * size, 0)
    for _ in range(n_before):
        optimizer.ask()
    vector: _Vector = np.clip(optimizer.ask(), 0.0, 1.0)
    return vector


def _start(request: ProposalRequest, numeric: Sequence[Dimension]) -> CMA:
    n_dimensions = max(len(numeric), _MIN_DIMENSIONS)
    mean, sigma, covariance = np.full(n_dimensions, 0.5), _FIRST_SIGMA, None
    if len(request.imported) >= _MIN_IMPORTED:
        middle = np.full(n_dimensions, 0.5)
        solutions = [
            (_as_drawn(each, middle, numeric), -request.direction.sign * each.reward) for each in request.imported
        ]
        mean, sigma, covariance = get_warm_start_mgd(solutions)
    return CMA(
        mean=mean,
        sigma=sigma,
        cov=covariance,
        bounds=np.tile([0.0, 1.0], (n_dimensions, 1)),
        seed=request.trial_seed if request.is_excerpt else request.stage_seed,
        n_max_resampling=_N_RESAMPLINGS_PER_DIMENSION * n_dimensions,
    )


def _as_drawn(observation: Observation, asked: _Vector, numeric: Sequence[Dimension]) -> _Vector:
    """Return the trial's coordinates: those that were `asked` where they explain its value, else its value's own."""
    vector = asked.copy()
    for index, dimension in enumerate(numeric):
        value = observation.hyperparameters.get(dimension.name)
        if value is not None and dimension.from_unit(min(max(float(asked[index]), 0.0), 1.0)) != value:
            vector[index] = dimension.to_unit(value)
    return vector

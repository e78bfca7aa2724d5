"""What further trials may still gain, by the model of all learning curves, whatever the stage's sampler is.

A gain is what a training of full length reaches more than the best expectation among the configurations that were
trained so long: by the model's mean, not by the best value seen, which luck has helped most. The expected improvement
looks one trial ahead. It says little of a large space of which little is known, where any single trial will probably
fail; so the best of all candidates is looked at too, in draws of the whole function: a gain is possible if it is there
in more draws than the asked probability leaves out.

The noise is what chance adds to one training, in the same unit: what the model makes of it, and what trainings of the
same configuration with other seeds show.

Source: Picheny, Wagner and Ginsbourger, "A benchmark of kriging-based infill criteria for noisy optimization",
Structural and Multidisciplinary Optimization 48 (2013), for the improvement over the best mean; Makarova et al.,
"Automatic termination for hyperparameter optimization", AutoML 2022, for ending where noise is all that is left.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from search.comparable_rewards import Observation
from search.samplers.acquisition import Proposer, log_expected_improvement
from search.samplers.activity import Activity
from search.samplers.coordinates import Array, UnitCoordinates
from search.samplers.curve_model import CurveModel
from search.samplers.learning_curves import Curve
from search.samplers.region import Region
from search.sampling.optuna_view import shown_parameters, view_coordinates
from search.search_space import SearchSpace
from search.study_definition import Direction
from search.study_record import Outlook

_MODEL_FREEDOM = 8.0  # repeated trainings that the model's own idea of the noise is worth
_N_PROMISING, _N_ANYWHERE, _N_DRAWS = 100, 400, 256


def outlook(
    observations: Sequence[Observation],
    *,
    box: SearchSpace,
    direction: Direction,
    max_epochs: int,
    probability: float,
    seed: int,
) -> Outlook | None:
    """Return what further trials may still gain.

    Equal arguments give equal answers, in any process.

    Args:
        observations: Finished trials in the box, by trial number, of a study with one objective and no constraints.
        box: The ranges that further trials come from.
        direction: Whether more reward is better.
        max_epochs: Epochs of a training of full length, >= 1.
        probability: In ``(0, 1)``, with which the best of all candidates gains at most the possible gain.
        seed: Of the candidates and draws, >= 0.

    Returns:
        None while no trial has been trained to full length, which a further one could be compared with, and where the
        ranges hold a single configuration.
    """
    coordinates = view_coordinates(box)
    curves = [_curve(each, box, sign=direction.sign, max_epochs=max_epochs) for each in observations]
    is_full = np.array(
        [curve.n_epochs >= max_epochs and not each.diverged for curve, each in zip(curves, observations, strict=True)],
        dtype=bool,
    )
    if not is_full.any() or not coordinates.names:
        return None
    model = CurveModel(coordinates, curves, horizon=max_epochs, expects_noise=True)
    incumbent = float(model.final(model.units[is_full])[0].max())
    expected, gains = _gains(model, coordinates, incumbent=incumbent, rng=np.random.default_rng(seed))
    unit = model.scale.unit
    full = [each for each, is_long in zip(observations, is_full, strict=True) if is_long]
    return Outlook(
        expected_gain=expected * unit,
        possible_gain=float(np.quantile(gains, probability)) * unit,
        noise=_noise(full, model.noise * unit),
    )


def _curve(observation: Observation, box: SearchSpace, *, sign: float, max_epochs: int) -> Curve:
    """Return what an observation shows; a diverged one is among the worst however long it trains."""
    best = {epoch: sign * reward for epoch, reward in observation.course}
    params = shown_parameters(box, observation.hyperparameters)
    return Curve(params=params, best=best or {max_epochs: sign * observation.reward})


def _gains(
    model: CurveModel, coordinates: UnitCoordinates, *, incumbent: float, rng: np.random.Generator
) -> tuple[float, Array]:
    """Return the expected improvement of the best next trial, and the best candidate's gain in each draw, >= 0."""
    ends = Activity.learned(coordinates, model.units, ~np.isnan(model.units))

    def acquisition(units: Array) -> Array:
        return log_expected_improvement(*model.final(ends.masked(units)), best=incumbent)

    around = np.nan_to_num(model.best_first(), nan=0.5)
    everywhere = Region.of(coordinates.names, {})
    proposer = Proposer(coordinates, rng, everywhere, everywhere.widths)
    promising = proposer.ranked(acquisition, around=around)[:_N_PROMISING]
    anywhere = coordinates.snap(rng.random((_N_ANYWHERE, len(coordinates.names))))
    candidates = ends.masked(np.vstack([promising, anywhere]))
    draws = model.draws(candidates, rng.standard_normal((len(candidates), _N_DRAWS)))
    gains: Array = np.maximum(draws.max(axis=0) - incumbent, 0.0)
    return math.exp(float(acquisition(promising[:1])[0])), gains


def _noise(full: Sequence[Observation], modelled: float) -> float:
    """Return the standard deviation between trainings that differ by their seed alone, > 0.

    Args:
        full: Trainings of full length.
        modelled: What the model makes of it.
    """
    repeats: defaultdict[tuple[tuple[str, object], ...], list[float]] = defaultdict(list)
    for each in full:
        repeats[tuple(sorted(each.hyperparameters.items()))].append(each.course[-1][1])
    squares = sum(statistics.variance(each) * (len(each) - 1) for each in repeats.values() if len(each) > 1)
    freedom = sum(len(each) - 1 for each in repeats.values())
    return math.sqrt((_MODEL_FREEDOM * modelled**2 + squares) / (_MODEL_FREEDOM + freedom))

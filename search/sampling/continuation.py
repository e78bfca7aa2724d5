"""Which paused trial is worth going on with, by the model of learning curves.

An improvement is what a trial reaches more than the best expectation of all: by the model's mean, not by the best value
seen, which luck has helped most. Measured by that, nothing would improve, and the least known trial least surely so.

Source: Picheny, Wagner and Ginsbourger, "A benchmark of kriging-based infill criteria for noisy optimization",
Structural and Multidisciplinary Optimization 48 (2013), for the improvement over the best mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.comparable_rewards import Observation
from search.curve_coordinates import CurveCoordinates
from search.samplers.acquisition import log_expected_improvement
from search.samplers.curve_model import CurveModel
from search.samplers.learning_curves import Curve, excerpt
from search.search_space import SearchSpace
from search.study_definition import Direction


def most_promising(
    paused: Sequence[Observation],
    others: Sequence[Observation],
    *,
    space: SearchSpace,
    direction: Direction,
    target_epochs: int,
) -> int:
    """Return the number of the paused trial with the largest expected improvement for each epoch that it lacks.

    Args:
        paused: At least one, each of fewer epochs than `target_epochs`, none of them diverged.
        others: The other finished trials.
        space: The study's dimensions.
        direction: Whether more reward is better.
        target_epochs: Epochs that it would have in the end.
    """
    coordinates = CurveCoordinates(space)
    if not coordinates.units.names:
        return paused[0].number
    told = [each for each in others if each.course]
    chosen = excerpt([_curve(each, coordinates, direction) for each in told])
    shown = sorted((*(told[index] for index in chosen), *paused), key=lambda each: each.number)
    curves = [_curve(each, coordinates, direction) for each in shown]
    model = CurveModel(coordinates.units, curves, horizon=target_epochs)
    mean, deviation = model.final(model.units)
    which = [shown.index(each) for each in paused]
    lacking = np.array([target_epochs - each.course[-1][0] for each in paused])
    gain = log_expected_improvement(mean[which], deviation[which], best=float(mean.max()))
    promise = gain - np.log(lacking)
    return paused[int(np.argmax(promise))].number


def _curve(observation: Observation, coordinates: CurveCoordinates, direction: Direction) -> Curve:
    values = {epoch: direction.sign * reward for epoch, reward in observation.course}
    return Curve.of(coordinates.params(observation.hyperparameters), values)

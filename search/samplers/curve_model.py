"""The model of a study's learning curves, from Optuna's parameters to what they will reach."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.samplers.coordinates import Array, UnitCoordinates
from search.samplers.learning_curves import Curve, Scale
from search.surrogate import CurvePoints, FeatureLayout, Posterior, fitted

_MOST_FITTED, _MOST_KNOWN = 160, 400  # points; the cost grows with their cube
_GROWTH = 1.1  # of the number of curves, from one fit of the hyperparameters to the next
_MOST_FITS_KEPT = 8


class CurveModel:
    """What configurations will reach, given the curves of a study.

    The hyperparameters and the unit follow from the first of the curves, up to a number that grows by `_GROWTH`, so
    that they are the same from one suggestion to the next; the predictions follow from all. Of running trials, what
    they are expected to reach counts as reached: where they are, nothing more is to be gained.

    Attributes:
        units: Coordinates of the curves' configurations, NaN where they lack a parameter, shape ``(n, d)``.
        best: The best value of all, of running trials what they are expected to reach, in the model's unit.
        scale: The model's unit.

    Args:
        coordinates: Of the ``d`` parameters.
        curves: At least one of which has a value.
        horizon: Epochs of a full training; None for the longest curve's.
        expects_noise: Whether the noise is to be told from what configurations do: with it, fits take twice as long.
    """

    def __init__(
        self,
        coordinates: UnitCoordinates,
        curves: Sequence[Curve],
        *,
        horizon: int | None,
        expects_noise: bool = False,
    ) -> None:
        self._coordinates = coordinates
        self.units, _ = coordinates.encode([each.params for each in curves])
        self.units = coordinates.snap(self.units)
        horizon = max(horizon or 1, *(each.n_epochs for each in curves), 1)
        columns, parameter = coordinates.features(self.units)
        layout = FeatureLayout(parameter=parameter, is_warped=~coordinates.is_choice[parameter])
        where = [(index, epoch) for index, each in enumerate(curves) for epoch in _shown_epochs(each)]
        index, epochs = np.array(where, dtype=np.int64).T
        values = np.array([curves[each].best[epoch] for each, epoch in where])
        is_fitted = index < _n_fitted(curves)
        self.scale = Scale.of([curves[each] for each in np.unique(index[is_fitted])], values[is_fitted])
        points = CurvePoints(
            features=columns[index],
            epochs=epochs.astype(np.float64),
            curve=index,
            rewards=self.scale.standardized(values),
        )
        self.best = float(points.rewards.max())
        fit_points = _fit_points(points.at(np.flatnonzero(is_fitted)))
        theta = _FITS.of(layout, fit_points, horizon=horizon, expects_noise=expects_noise)
        points = _conditioned(points)
        self._posterior = Posterior(layout, theta, points, horizon=horizon)
        running = np.array([each.is_running for each in curves], dtype=bool)
        if running.any():
            hoped = _believed(self._posterior, points, columns, running, horizon=horizon)
            self.best = max(self.best, float(hoped.rewards.max()))
            self._posterior = Posterior(layout, theta, hoped, horizon=horizon)

    @property
    def noise(self) -> float:
        """Standard deviation of what chance adds to a training, > 0, in the model's unit."""
        return self._posterior.noise

    def final(self, units: Array) -> tuple[Array, Array]:
        """Return means and standard deviations of what configurations will reach, both of shape ``(m,)``.

        Args:
            units: Snapped coordinates, NaN where a parameter is lacking, shape ``(m, d)``.
        """
        return self._posterior.final(self._coordinates.features(units)[0])

    def draws(self, units: Array, normals: Array) -> Array:
        """Return what configurations will reach, drawn together from what is known, one draw a column.

        Args:
            units: As of `final`, shape ``(m, d)``.
            normals: Independent standard normal numbers, shape ``(m, n)``.
        """
        return self._posterior.draws(self._coordinates.features(units)[0], normals)

    def best_first(self) -> Array:
        """Return the coordinates of the curves' configurations, the best expectation first."""
        mean = self._posterior.mean(self._coordinates.features(self.units)[0])
        ordered: Array = self.units[np.argsort(-mean, kind="stable")]
        return ordered


class _Fits:
    """Remembers the last fits, which suggestion after suggestion asks for again."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Array] = OrderedDict()

    def of(self, layout: FeatureLayout, points: CurvePoints, *, horizon: int, expects_noise: bool) -> Array:
        arrays = (layout.parameter, layout.is_warped, points.features, points.epochs, points.curve, points.rewards)
        key = b"|".join(
            [f"{horizon} {expects_noise}".encode(), *(np.ascontiguousarray(each).tobytes() for each in arrays)]
        )
        if key not in self._known:
            self._known[key] = fitted(layout, points, horizon=horizon, expects_noise=expects_noise)
            while len(self._known) > _MOST_FITS_KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


_FITS = _Fits()


def _shown_epochs(curve: Curve) -> list[int]:
    """Return the epochs of a curve that the model is shown: its last and the one half way there."""
    last = curve.n_epochs
    halves = [epoch for epoch in curve.best if epoch <= last // 2]
    return [each for each in (*halves[-1:], last) if each > 0]


def _n_fitted(curves: Sequence[Curve]) -> int:
    """Return how many of the first curves the hyperparameters follow from; at least one of them has a value."""
    first = next(index for index, each in enumerate(curves) if each.best)
    n_first = first + 1
    while (larger := max(n_first + 1, math.floor(n_first * _GROWTH))) <= len(curves):
        n_first = larger
    return n_first


def _fit_points(points: CurvePoints) -> CurvePoints:
    """Return all points, or of many a random sample, always the same."""
    if len(points) <= _MOST_FITTED:
        return points
    return points.at(np.sort(np.random.default_rng(0).permutation(len(points))[:_MOST_FITTED]))


def _conditioned(points: CurvePoints) -> CurvePoints:
    """Return all points, or of many the curves' last ones first."""
    if len(points) <= _MOST_KNOWN:
        return points
    is_last = np.append(points.curve[1:] != points.curve[:-1], True)
    return points.at(np.sort(np.argsort(~is_last, kind="stable")[:_MOST_KNOWN]))


def _believed(
    posterior: Posterior, points: CurvePoints, columns: Array, running: NDArray[np.bool_], *, horizon: int
) -> CurvePoints:
    index = np.flatnonzero(running)
    return CurvePoints(
        features=np.vstack([points.features, columns[index]]),
        epochs=np.append(points.epochs, np.full(len(index), float(horizon))),
        curve=np.append(points.curve, index),
        rewards=np.append(points.rewards, posterior.mean(columns[index])),
    )

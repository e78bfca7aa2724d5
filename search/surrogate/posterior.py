"""What configurations will reach after a full training, given points of learning curves."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import solve_triangular

from search.surrogate.curve_points import Array, CurvePoints, FeatureLayout
from search.surrogate.kernel import Layout, bent, covariance, cross_covariance

_LEAST_VARIANCE = 1e-8  # in prior variances


class Posterior:
    """The final rewards of all configurations, as they are known from points of learning curves.

    All points of one curve have the same covariance with a final reward, so what they say together is kept curve by
    curve.

    Args:
        features: What the columns of feature arrays are.
        theta: Hyperparameters, as `fitted` returns them.
        points: At least one.
        horizon: Epochs of a full training, >= 1.
    """

    def __init__(self, features: FeatureLayout, theta: Array, points: CurvePoints, *, horizon: int) -> None:
        self._layout = Layout(features)
        self._theta = theta
        _, first = np.unique(points.curve, return_index=True)
        self._known = bent(self._layout, theta, points.features[first]).values
        total = covariance(self._layout, theta, points, horizon=horizon).total
        factor = np.linalg.cholesky(total)
        inverse_factor = solve_triangular(factor, np.eye(len(points)), lower=True, check_finite=False)
        inverse = inverse_factor.T @ inverse_factor
        self._inverse = _by_curve(_by_curve(inverse, points).T, points)
        self._solved = _by_curve(inverse @ points.rewards, points)

    @property
    def noise(self) -> float:
        """Standard deviation of what chance adds to a point, > 0, in the unit of the points' rewards."""
        return math.exp(self._theta[self._layout.noise])

    def mean(self, features: Array) -> Array:
        """Return the means alone of what `final` returns, which takes less time."""
        mean: Array = cross_covariance(self._layout, self._theta, features, self._known)[0] @ self._solved
        return mean

    def final(self, features: Array) -> tuple[Array, Array]:
        """Return the means and standard deviations of final rewards.

        Args:
            features: Of ``m`` configurations, shape ``(m, k)``.

        Returns:
            Both of shape ``(m,)``, in the unit of the points' rewards; without what chance adds to a single training.
        """
        cross, variance = cross_covariance(self._layout, self._theta, features, self._known)
        mean: Array = cross @ self._solved
        explained = cross @ self._inverse
        explained *= cross
        left = variance - explained.sum(axis=1)
        return mean, np.sqrt(np.maximum(left, _LEAST_VARIANCE * variance))

    def draws(self, features: Array, normals: Array) -> Array:
        """Return final rewards as they may be together, drawn from what is known.

        Args:
            features: Of ``m`` configurations, shape ``(m, k)``.
            normals: Independent standard normal numbers, shape ``(m, n)``.

        Returns:
            Shape ``(m, n)``, a draw a column, in the unit of the points' rewards; without what chance adds.
        """
        cross, _ = cross_covariance(self._layout, self._theta, features, self._known)
        among, _ = cross_covariance(
            self._layout, self._theta, features, bent(self._layout, self._theta, features).values
        )
        left = among - cross @ self._inverse @ cross.T
        values, vectors = np.linalg.eigh(left)
        drawn: Array = (cross @ self._solved)[:, None] + (vectors * np.sqrt(np.maximum(values, 0.0))) @ normals
        return drawn


def _by_curve(values: Array, points: CurvePoints) -> Array:
    """Return sums of the rows over the points of each curve, the curves ascending."""
    order = np.argsort(points.curve, kind="stable")
    _, starts = np.unique(points.curve[order], return_index=True)
    sums: Array = np.add.reduceat(values[order], starts, axis=0)
    return sums

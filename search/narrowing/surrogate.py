"""A small Gaussian process of the rewards' ranks over the search space.

Rewards become normal scores (their ranks as quantiles of the standard normal distribution), so that neither the
metric's unit nor how bad the bad trials are matters; diverged trials share the lowest ranks. The covariance is a
Matern-5/2 kernel of

    r^2 = sum over numeric coordinates of ((u - v) / l)^2 + sum over choices of [c != d] / l^2

with a lengthscale l for each coordinate (automatic relevance determination; for choices it is a Hamming distance), plus
noise. All are set to the maximum of the posterior under log-normal priors. The prior of a lengthscale is long: that a
dimension matters is for the trials to show.

Source: Rasmussen and Williams, "Gaussian processes for machine learning" (2006), sections 4.2 and 5.4; Ru et al.,
"Bayesian optimisation over multiple continuous and categorical inputs", ICML 2020, for the Hamming part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.stats import norm, rankdata

Array = NDArray[np.float64]

_PRIOR_LENGTH = (math.log(2.0), 1.2)  # of a unit coordinate: mean and standard deviation of the logarithm
_PRIOR_SCALE = (0.0, 0.5)
_PRIOR_NOISE = (math.log(0.3), 1.0)
_BOUNDS_LENGTH, _BOUNDS_SCALE, _BOUNDS_NOISE = (0.05, 50.0), (0.2, 5.0), (0.02, 2.0)
_STARTS = (2.0, 0.4)  # lengthscales
_MOST_ITERATIONS = 60
_JITTER = 1e-8
_SQRT5 = math.sqrt(5.0)


def normal_scores(losses: Sequence[float]) -> Array:
    """Return the ranks of losses (less is better) as quantiles of the standard normal distribution, most is best.

    Args:
        losses: At least one, shape ``(n,)``; equal ones share the mean of their ranks.
    """
    ranks = rankdata(-np.asarray(losses))
    scores: Array = norm.ppf((ranks - 0.5) / len(ranks))
    return scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrogate:
    """A fitted Gaussian process with mean 0.

    Attributes:
        points: Shape ``(n, d)``: coordinates in ``[0, 1]``, codes of choices.
        is_choice: Shape ``(d,)``: which columns are codes.
        lengths: Shape ``(d,)``: lengthscales.
        scale: Standard deviation of the function.
        noise: Standard deviation of the noise.
        factor: Lower Cholesky factor of the trials' covariance, shape ``(n, n)``.
        weights: Its inverse applied to the scores, shape ``(n,)``.
    """

    points: Array
    is_choice: NDArray[np.bool_]
    lengths: Array
    scale: float
    noise: float
    factor: Array
    weights: Array

    def mean(self, points: Array) -> Array:
        """Return the posterior mean of the function at points, shape ``(m, d)``; the result's is ``(m,)``."""
        mean: Array = self._covariance(points, self.points) @ self.weights
        return mean

    def draws(self, points: Array, normals: Array) -> Array:
        """Return posterior samples of the function.

        Args:
            points: Shape ``(m, d)``.
            normals: Independent standard normal numbers, shape ``(m, k)``.

        Returns:
            Shape ``(m, k)``: a sample a column.
        """
        cross = self._covariance(points, self.points)
        half = solve_triangular(self.factor, cross.T, lower=True)
        covariance = self._covariance(points, points) - half.T @ half
        covariance[np.diag_indices_from(covariance)] += 1e-6 * self.scale**2
        drawn: Array = (cross @ self.weights)[:, None] + _factor(covariance) @ normals
        return drawn

    def _covariance(self, left: Array, right: Array) -> Array:
        squared = np.zeros((len(left), len(right)))
        for column, (is_choice, length) in enumerate(zip(self.is_choice, self.lengths, strict=True)):
            squared += _squared(left[:, column], right[:, column], is_choice=bool(is_choice)) / length**2
        covariance: Array = self.scale**2 * _matern(np.sqrt(squared))
        return covariance


def fitted(points: Array, scores: Array, is_choice: NDArray[np.bool_]) -> Surrogate:
    """Fit a Gaussian process.

    Args:
        points: Shape ``(n, d)``, n >= 1, d >= 1.
        scores: Shape ``(n,)``.
        is_choice: Shape ``(d,)``: which columns are codes of choices.
    """
    squared = np.stack(
        [_squared(points[:, k], points[:, k], is_choice=bool(is_choice[k])) for k in range(points.shape[1])]
    )
    limits = [*[_BOUNDS_LENGTH] * len(squared), _BOUNDS_SCALE, _BOUNDS_NOISE]
    bounds = [(math.log(low), math.log(high)) for low, high in limits]
    found = [
        minimize(
            negative_log_posterior,
            np.array([*np.full(len(squared), math.log(length)), 0.0, _PRIOR_NOISE[0]]),
            args=(squared, scores),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": _MOST_ITERATIONS},
        )
        for length in _STARTS
    ]
    best = min(found, key=lambda each: float(each.fun)).x
    lengths, (scale, noise) = np.exp(best[:-2]), np.exp(best[-2:])
    covariance = scale**2 * _matern(np.sqrt(np.tensordot(lengths**-2, squared, axes=1)))
    covariance[np.diag_indices_from(covariance)] += noise**2
    factor = _factor(covariance)
    return Surrogate(
        points=points,
        is_choice=is_choice,
        lengths=lengths,
        scale=float(scale),
        noise=float(noise),
        factor=factor,
        weights=cho_solve((factor, True), scores),
    )


def negative_log_posterior(parameters: Array, squared: Array, scores: Array) -> tuple[float, Array]:
    """Return its value and gradient; `parameters` are logarithms of the lengthscales, the scale and the noise."""
    inverse = np.exp(-2.0 * parameters[:-2])
    scale, noise = np.exp(parameters[-2:])
    distance = np.sqrt(np.tensordot(inverse, squared, axes=1))
    function = scale**2 * _matern(distance)
    covariance = function + noise**2 * np.eye(len(scores))
    factor = _factor(covariance)
    weights = cho_solve((factor, True), scores)
    value = 0.5 * scores @ weights + np.log(np.diag(factor)).sum()
    sensitivity = cho_solve((factor, True), np.eye(len(scores))) - np.outer(weights, weights)
    by_distance = sensitivity * scale**2 * (5.0 / 3.0) * (1.0 + _SQRT5 * distance) * np.exp(-_SQRT5 * distance)
    gradient = np.empty_like(parameters)
    gradient[:-2] = 0.5 * inverse * np.tensordot(squared, by_distance, axes=2)
    gradient[-2] = np.sum(sensitivity * function)
    gradient[-1] = noise**2 * np.trace(sensitivity)
    means = np.array([*np.full(len(squared), _PRIOR_LENGTH[0]), _PRIOR_SCALE[0], _PRIOR_NOISE[0]])
    deviations = np.array([*np.full(len(squared), _PRIOR_LENGTH[1]), _PRIOR_SCALE[1], _PRIOR_NOISE[1]])
    residuals = (parameters - means) / deviations
    return float(value + 0.5 * residuals @ residuals), gradient + residuals / deviations


def _squared(left: Array, right: Array, *, is_choice: bool) -> Array:
    difference = left[:, None] - right[None, :]
    squared: Array = (difference != 0.0).astype(np.float64) if is_choice else difference**2
    return squared


def _matern(distance: Array) -> Array:
    scaled = _SQRT5 * distance
    correlation: Array = (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
    return correlation


def _factor(covariance: Array) -> Array:
    jitter = _JITTER
    while True:
        try:
            return cholesky(covariance + jitter * np.eye(len(covariance)), lower=True)
        except np.linalg.LinAlgError:
            jitter *= 10.0

"""The critic: what reward to expect where, and how far off that may be, learned from all trials by regression.

Kernel ridge regression with a Matern-5/2 kernel, which is a Gaussian process's posterior: one length scale a column,
the noise, the mean and the variance maximize the marginal likelihood of an excerpt, under priors; the regression itself
takes all trials, through at most `MOST_CENTRES` of them as centres. With all trials as centres it is exact.

Source: Rasmussen and Williams, "Gaussian processes for machine learning" (2006), chapters 5 and 8.3.4 (projected
process); the prior of the length scales grows with the dimensions: Hvarfner et al., "Vanilla Bayesian optimization
performs great in high dimensions", ICML 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import Bounds, minimize

from search.samplers.coordinates import Array

MOST_CENTRES = 128
"""Trials that stand for all of them in the regression."""

MOST_FITTED = 48
"""Trials whose likelihood decides the kernel's parameters."""

_MOST_RUNNING = 128
_MOST_ITERATIONS = 12
_JITTER = 1e-6  # of the kernel's diagonal, in its variance
_ROOT5 = math.sqrt(5.0)
_LOG_SCALE_SPREAD = 0.9  # of the prior of a length scale's logarithm
_NOISE, _LOG_NOISE_SPREAD = 1e-3, 2.0  # prior of the noise's variance, in the kernel's
_FIRST_NOISE = 1e-2
_SCALES, _NOISES = (0.03, 30.0), (1e-6, 1.0)  # bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Points as the kernel sees them.

    Attributes:
        values: Shape ``(n, f)``; the squared distance of two rows in the columns of one parameter is the square of what
            their coordinates differ by, and 1 where two choices differ.
        parameter: Which of the ``d`` parameters a column belongs to, shape ``(f,)``.
    """

    values: Array
    parameter: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, chosen: NDArray[np.int64]) -> Features:
        """Return some of the points."""
        return Features(values=self.values[chosen], parameter=self.parameter)

    def scaled(self, length_scales: Array) -> Array:
        """Return the values in units of their parameters' length scales, shape ``(n, f)``."""
        return self.values / length_scales[self.parameter]

    def squared_distances(self, n_parameters: int) -> Array:
        """Return those between all pairs of points by parameter, shape ``(n, n, d)``."""
        squares = (self.values[:, None, :] - self.values[None, :, :]) ** 2
        by_parameter = np.zeros((len(self), len(self), n_parameters))
        for column, parameter in enumerate(self.parameter):
            by_parameter[:, :, parameter] += squares[:, :, column]
        return by_parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel's parameters.

    Attributes:
        length_scales: Shape ``(d,)``.
        noise: Variance of a reward's noise, in units of the kernel's variance.
    """

    length_scales: Array
    noise: float

    @classmethod
    def fitted(cls, points: Features, rewards: Array, *, n_parameters: int) -> Self:
        """Return the parameters under which the rewards are most likely a posteriori."""
        log_prior_scale = math.log(0.5 * float(n_parameters) ** 0.25)
        first = np.append(np.full(n_parameters, log_prior_scale), math.log(_FIRST_NOISE))
        low, high = (
            np.append(np.full(n_parameters, scale), noise) for scale, noise in zip(_SCALES, _NOISES, strict=True)
        )
        best = minimize(
            negative_log_posterior,
            first,
            args=(points.squared_distances(n_parameters), rewards, log_prior_scale),
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(np.log(low), np.log(high)),
            options={"maxiter": _MOST_ITERATIONS},
        )
        return cls(length_scales=np.exp(best.x[:-1]), noise=math.exp(best.x[-1]))

    def between(self, rows: Features, columns: Features) -> Array:
        """Return the correlations of the rewards, shape ``(n_rows, n_columns)``."""
        left, right = rows.scaled(self.length_scales), columns.scaled(self.length_scales)
        squares = np.sum(left**2, axis=1)[:, None] + np.sum(right**2, axis=1)[None, :] - 2.0 * left @ right.T
        return _matern(np.sqrt(np.maximum(squares, 0.0)))


class Critic:
    """Expected rewards and their standard deviations.

    Args:
        points: Of the ``n`` trials, at least one.
        rewards: Shape ``(n,)``, finite.
        kernel: Of the rewards' correlations.
        centres: Indices of the trials that stand for all, shape ``(m,)``.
    """

    def __init__(self, points: Features, rewards: Array, *, kernel: Kernel, centres: NDArray[np.int64]) -> None:
        self._kernel = kernel
        self._centres = points.rows(centres)
        among = kernel.between(self._centres, self._centres)
        self._root = np.linalg.cholesky(among + _JITTER * np.eye(len(among)))
        noise = kernel.noise + _JITTER
        projected = solve_triangular(self._root, kernel.between(self._centres, points), lower=True) / math.sqrt(noise)
        self._inner_root = np.linalg.cholesky(np.eye(len(among)) + projected @ projected.T)
        one, target = (
            solve_triangular(self._inner_root, projected @ each, lower=True) / math.sqrt(noise)
            for each in (np.ones(len(points)), rewards)
        )
        # The mean and the variance of the process, as generalized least squares and the likelihood have them.
        weight = len(points) / noise - float(one @ one)
        self._mean = (float(np.sum(rewards)) / noise - float(one @ target)) / weight
        residual = rewards - self._mean
        centered = target - self._mean * one
        squares = max(float(residual @ residual) / noise - float(centered @ centered), 0.0)
        self._variance = max(squares / len(points), 1e-8)
        self._weights = solve_triangular(self._inner_root, centered, lower=True, trans="T")

    def expected(self, points: Features) -> tuple[Array, Array]:
        """Return the expected rewards and their standard deviations without the noise, both of shape ``(m,)``."""
        projected = solve_triangular(self._root, self._kernel.between(self._centres, points), lower=True)
        inner = solve_triangular(self._inner_root, projected, lower=True)
        share = 1.0 - np.sum(projected**2, axis=0) + np.sum(inner**2, axis=0)
        expected: Array = self._mean + projected.T @ self._weights
        return expected, np.sqrt(self._variance * np.maximum(share, 0.0))


def learned_critic(points: Features, rewards: Array, *, n_parameters: int, running: Features) -> Critic:
    """Return the critic of a study.

    Trials under way are taken to show what is expected of them: nothing is expected to be learned there again. Where
    there are very many, only the last ones count.

    Args:
        points: Of the finished trials, at least one.
        rewards: Theirs, standardized, shape ``(n,)``.
        n_parameters: How many there are.
        running: Trials under way, the last to begin at the end.

    Source:
        Desautels et al., "Parallelizing exploration-exploitation tradeoffs with Gaussian process bandit optimization",
        ICML 2012.
    """
    fitted = excerpt(rewards, MOST_FITTED)
    kernel = Kernel.fitted(points.rows(fitted), rewards[fitted], n_parameters=n_parameters)
    centres = excerpt(rewards, MOST_CENTRES)
    critic = Critic(points, rewards, kernel=kernel, centres=centres)
    if not len(running):
        return critic
    running = running.rows(np.arange(max(0, len(running) - _MOST_RUNNING), len(running)))
    both = Features(values=np.vstack([points.values, running.values]), parameter=points.parameter)
    shown = np.append(rewards, critic.expected(running)[0])
    return Critic(both, shown, kernel=kernel, centres=np.append(centres, len(points) + np.arange(len(running))))


def excerpt(rewards: Array, at_most: int) -> NDArray[np.int64]:
    """Return the indices of the best half of an excerpt and, for the other half, trials of evenly spread ranks."""
    if len(rewards) <= at_most:
        return np.arange(len(rewards))
    best_first = np.argsort(-rewards, kind="stable")
    n_best = at_most // 2
    spread = np.linspace(n_best, len(rewards) - 1, at_most - n_best).astype(np.int64)
    return np.sort(np.concatenate([best_first[:n_best], best_first[spread]]))


def _matern(distance: Array) -> Array:
    scaled = _ROOT5 * distance
    correlation: Array = (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
    return correlation


def negative_log_posterior(
    logs: Array, distances: Array, rewards: Array, log_prior_scale: float
) -> tuple[float, Array]:
    """Return the negative logarithm of the posterior density of a kernel's parameters, and its gradient.

    The mean and the variance of the process are at their best for these parameters.

    Args:
        logs: Logarithms of the length scales and the noise, shape ``(d + 1,)``.
        distances: Squared, by parameter, shape ``(n, n, d)``.
        rewards: Shape ``(n,)``.
        log_prior_scale: Middle of the prior of a length scale's logarithm.
    """
    n = len(rewards)
    noise = math.exp(logs[-1])
    scaled = distances / np.exp(2.0 * logs[:-1])
    distance = _ROOT5 * np.sqrt(np.sum(scaled, axis=2))
    decay = np.exp(-distance)
    correlation = (1.0 + distance + distance**2 / 3.0) * decay + (noise + _JITTER) * np.eye(n)
    root = np.linalg.cholesky(correlation)
    inverse_root = solve_triangular(root, np.eye(n), lower=True)
    inverse = inverse_root.T @ inverse_root
    by_one = inverse.sum(axis=0)
    residual = rewards - (by_one @ rewards) / by_one.sum()
    weights = inverse @ residual
    variance = max(float(residual @ weights) / n, 1e-8)
    away = np.append(
        (logs[:-1] - log_prior_scale) / _LOG_SCALE_SPREAD, (logs[-1] - math.log(_NOISE)) / _LOG_NOISE_SPREAD
    )
    loss = 0.5 * n * math.log(variance) + float(np.sum(np.log(np.diag(root)))) + 0.5 * float(away @ away)
    sensitivity = 0.5 * (inverse - np.outer(weights, weights) / variance)
    slope = sensitivity * (5.0 / 3.0) * (1.0 + distance) * decay
    gradient = np.append(np.einsum("ij,ijk->k", slope, scaled), float(np.trace(sensitivity)) * noise)
    gradient += away / np.append(np.full(len(logs) - 1, _LOG_SCALE_SPREAD), _LOG_NOISE_SPREAD)
    return loss, gradient

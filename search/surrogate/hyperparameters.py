"""The prior's hyperparameters: what is believed of them beforehand, and their most probable values given curves."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from search.surrogate.curve_points import Array, CurvePoints, FeatureLayout
from search.surrogate.kernel import Layout, covariance, gradient

_N_ITERATIONS = 40
_IMPOSSIBLE = 1e10  # what a covariance costs that is not positive definite by rounding


class _Belief(NamedTuple):
    """What is believed of a logarithm: mean, standard deviation, and between which bounds it is."""

    mean: float
    deviation: float
    low: float = -math.inf
    high: float = math.inf


_LENGTHSCALE = _Belief(0.0, 1.0)  # of coordinates in [0, 1]
_RATIO = _Belief(0.3, 0.5)
_F = _Belief(0.0, 0.5)
_G = _Belief(-0.5, 0.7)
_OWN = _Belief(-1.5, 0.7, -3.0, 1.0)
_NOISE = _Belief(-2.5, 1.0, -4.5, 0.0)
_EXPECTED_NOISE = _Belief(-1.2, 1.0, -4.5, 0.3)
_NOISY_START = -0.2
_POWER = _Belief(math.log(0.5), 0.5)
_BEND = _Belief(0.0, 0.2)  # few trials are explained by bends as well as by anything else
_MOST_DEVIATIONS = 4.0


def fitted(features: FeatureLayout, points: CurvePoints, *, horizon: int, expects_noise: bool = False) -> Array:
    """Return the most probable hyperparameters (their logarithms) given points of learning curves.

    A function of its arguments only: the search begins at the prior's mean. Few points are explained by a function of
    short lengthscales as well as by noise, so who wants to know the noise had better expect some: it is then believed
    to be about a third of what trials differ by, and a second search begins where it is nearly all of that.

    Args:
        features: What the columns of the points' features are.
        points: At least one.
        horizon: Epochs of a full training, >= 1.
        expects_noise: Whether the noise is what is asked for.
    """
    layout = Layout(features)
    mean, deviation, bounds = _prior(layout, noise=_EXPECTED_NOISE if expects_noise else _NOISE)
    starts = [mean]
    if expects_noise:
        starts.append(mean.copy())
        starts[1][layout.noise] = _NOISY_START
    results = [
        minimize(
            negative_log_posterior, start, args=(layout, points, horizon, mean, deviation), jac=True,
            method="L-BFGS-B", bounds=bounds, options={"maxiter": _N_ITERATIONS},
        )
        for start in starts
    ]  # fmt: skip
    found: Array = min(results, key=lambda each: float(each.fun)).x
    return found


def negative_log_posterior(
    theta: Array, layout: Layout, points: CurvePoints, horizon: int, mean: Array, deviation: Array
) -> tuple[float, Array]:
    """Return the negative log posterior density, but for a constant, and its gradient."""
    c = covariance(layout, theta, points, horizon=horizon)
    try:
        factor = np.linalg.cholesky(c.total)
    except np.linalg.LinAlgError:
        return _IMPOSSIBLE, np.zeros_like(theta)
    inverse_factor = solve_triangular(factor, np.eye(len(points)), lower=True, check_finite=False)
    inverse = inverse_factor.T @ inverse_factor
    solved = inverse @ points.rewards
    distance = (theta - mean) / deviation
    loss = 0.5 * points.rewards @ solved + np.log(np.diag(factor)).sum() + 0.5 * distance @ distance
    weight = 0.5 * (inverse - np.outer(solved, solved))
    return float(loss), gradient(layout, theta, points, c, weight, horizon) + distance / deviation


def _prior(layout: Layout, *, noise: _Belief) -> tuple[Array, Array, list[tuple[float, float]]]:
    beliefs = [_F] * layout.size
    for where, belief in (
        (layout.ratio, _RATIO), (layout.f, _F), (layout.g, _G), (layout.own, _OWN), (layout.noise, noise),
        (layout.power, _POWER),
    ):  # fmt: skip
        beliefs[where] = belief
    for each, belief in (
        (layout.lengthscales, _LENGTHSCALE), (layout.bend_low, _BEND), (layout.bend_high, _BEND),
    ):  # fmt: skip
        beliefs[each] = [belief] * len(beliefs[each])
    mean = np.array([each.mean for each in beliefs])
    deviation = np.array([each.deviation for each in beliefs])
    lows = np.maximum([each.low for each in beliefs], mean - _MOST_DEVIATIONS * deviation)
    highs = np.minimum([each.high for each in beliefs], mean + _MOST_DEVIATIONS * deviation)
    return mean, deviation, list(zip(lows.tolist(), highs.tolist(), strict=True))

"""The prior over learning curves: how alike two points of two curves are, and its derivatives.

With x a configuration and t epochs of at most T, a reward is modelled as::

    y(x, t) = F(x) - r(t) G(x) + B_x(t) + noise,      r(t) = (t**-a - T**-a) / (1 - T**-a)

F is what x reaches after T epochs, G how far it is from that after the first one, both Gaussian processes (Matern-5/2,
one lengthscale for each parameter, G's all longer or shorter by one factor; a constant adds the level). B is a
training's own way, a Brownian motion in log t that ends in 0 at T: the further from T, the less a short training
tells. Coordinates are bent by Kumaraswamy's distribution first, since rewards often change all at once near an end of
a range.

Source: Swersky, Snoek and Adams, "Freeze-thaw Bayesian optimization", arXiv 1406.3896; power laws of learning curves:
Domhan, Springenberg and Hutter, IJCAI 2015; warping: Snoek et al., "Input warping for Bayesian optimization of
non-stationary functions", ICML 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from search.surrogate.curve_points import Array, CurvePoints, FeatureLayout

LEVEL_VARIANCE = 16.0
"""Prior variance of the level that all configurations share, in variances of F and of G."""

_JITTER = 1e-8
_BLOCK = 64  # rows of a matrix that are dealt with at a time
_EDGE = 1e-4  # coordinates are bent this far from the ends of their range, where the slope may be infinite
_SQRT5 = math.sqrt(5.0)


class Layout:
    """Where each hyperparameter of the prior is in the vector of all of them, which are logarithms.

    Args:
        features: What the columns of feature arrays are.
    """

    def __init__(self, features: FeatureLayout) -> None:
        p = features.n_parameters
        w = int(features.is_warped.sum())
        self.features = features
        self.lengthscales = slice(0, p)
        self.ratio, self.f, self.g, self.own, self.noise, self.power = range(p, p + 6)
        self.bend_low = slice(p + 6, p + 6 + w)
        self.bend_high = slice(p + 6 + w, p + 6 + 2 * w)
        self.size = p + 6 + 2 * w


@dataclass(frozen=True, slots=True, kw_only=True)
class Bent:
    """Features after bending.

    Attributes:
        values: Shape ``(n, k)``.
        by_low: Derivatives of the bent columns by the logarithm of their first exponent, shape ``(n, w)``.
        by_high: Likewise by that of the second.
    """

    values: Array
    by_low: Array
    by_high: Array


def bent(layout: Layout, theta: Array, features: Array) -> Bent:
    """Return features with their coordinates bent: ``1 - (1 - x**a)**b``."""
    low, high = np.exp(theta[layout.bend_low]), np.exp(theta[layout.bend_high])
    is_warped = layout.features.is_warped
    x = np.clip(features[:, is_warped], _EDGE, 1.0 - _EDGE)
    power = x**low
    rest = (1.0 - power) ** high
    values = features.copy()
    values[:, is_warped] = 1.0 - rest
    return Bent(
        values=values,
        by_low=high * (1.0 - power) ** (high - 1.0) * power * np.log(x) * low,
        by_high=-rest * np.log1p(-power) * high,
    )


def still_to_come(epochs: Array, *, power: float, horizon: int) -> Array:
    """Return r(t), 1 after the first epoch and 0 at the horizon."""
    if horizon == 1:
        return np.zeros_like(epochs)
    end = horizon**-power
    left: Array = (epochs**-power - end) / (1.0 - end)
    return left


def squared_distances(a: Array, b: Array) -> Array:
    """Return the squared distances of the rows, shape ``(len(a), len(b))``."""
    squared: Array = a @ (-2.0 * b.T)
    squared += (a * a).sum(axis=1)[:, None]
    squared += (b * b).sum(axis=1)[None]
    return np.maximum(squared, 0.0, out=squared)


def matern(squared: Array, *, out: Array | None = None) -> Array:
    """Return the Matern-5/2 correlations at squared distances.

    Block by block and in place: large arrays that are made anew take most of the time.

    Args:
        squared: Shape ``(n, m)``.
        out: Where they are put; it may be `squared`. None for a new array.
    """
    correlation = np.empty_like(squared) if out is None else out
    for first in range(0, len(squared), _BLOCK):
        block = slice(first, first + _BLOCK)
        square = squared[block] * (5.0 / 3.0)
        distance = np.sqrt(squared[block], out=correlation[block])
        distance *= _SQRT5
        decay = np.exp(-distance)
        distance += 1.0
        distance += square
        distance *= decay
    return correlation


def matern_slope(squared: Array) -> Array:
    """Return the derivatives of the Matern-5/2 correlations by squared distances."""
    distance = _SQRT5 * np.sqrt(squared)
    slope: Array = (-5.0 / 6.0) * (1.0 + distance) * np.exp(-distance)
    return slope


@dataclass(frozen=True, slots=True, kw_only=True)
class Covariance:
    """The covariance of points under the prior, with what its derivatives are made of.

    Attributes:
        total: Shape ``(n, n)``, as the others.
        final: What F adds.
        shortfall: What G adds.
        own: What B adds.
        f: Variance of F, beside that of its level.
        g: Likewise of G.
        final_squared: Squared distances of the points as F sees them.
        shortfall_squared: As G does.
        left: r(t) of the points, shape ``(n,)``.
        inputs: Of the points.
    """

    total: Array
    final: Array
    shortfall: Array
    own: Array
    f: float
    g: float
    final_squared: Array
    shortfall_squared: Array
    left: Array
    inputs: Bent


def covariance(layout: Layout, theta: Array, points: CurvePoints, *, horizon: int) -> Covariance:
    """Return the covariance of the points, shape ``(n, n)``."""
    inputs = bent(layout, theta, points.features)
    lengthscales = np.exp(theta[layout.lengthscales])[layout.features.parameter]
    f, g, own, noise = np.exp(2.0 * theta[[layout.f, layout.g, layout.own, layout.noise]])
    near_f = inputs.values / lengthscales
    near_g = near_f / math.exp(theta[layout.ratio])
    left = still_to_come(points.epochs, power=math.exp(theta[layout.power]), horizon=horizon)
    both_left = np.outer(left, left)
    final_squared, shortfall_squared = squared_distances(near_f, near_f), squared_distances(near_g, near_g)
    final, shortfall = matern(final_squared), matern(shortfall_squared)
    final += LEVEL_VARIANCE
    final *= f
    shortfall += LEVEL_VARIANCE
    shortfall *= g
    shortfall *= both_left
    log_left = _log_epochs_left(points.epochs, horizon)
    brownian = np.minimum.outer(log_left, log_left)
    brownian *= own
    brownian *= points.curve[:, None] == points.curve[None]
    total = final + shortfall
    total += brownian
    total[np.diag_indices_from(total)] += noise + _JITTER
    return Covariance(
        total=total,
        final=final,
        shortfall=shortfall,
        own=brownian,
        f=f,
        g=g,
        final_squared=final_squared,
        shortfall_squared=shortfall_squared,
        left=left,
        inputs=inputs,
    )


def gradient(layout: Layout, theta: Array, points: CurvePoints, c: Covariance, weight: Array, horizon: int) -> Array:
    """Return the derivatives of ``sum(weight * covariance)`` by the hyperparameters.

    Args:
        layout: Where they are.
        theta: Their logarithms, shape ``(layout.size,)``.
        points: Of the covariance.
        c: The covariance at `theta`.
        weight: Symmetric, shape ``(n, n)``.
        horizon: Epochs of a full training.
    """
    parameter, is_warped = layout.features.parameter, layout.features.is_warped
    lengthscales = np.exp(theta[layout.lengthscales])[parameter]
    ratio = math.exp(theta[layout.ratio])
    by_f, from_f = _by_scaled_inputs(c.inputs.values / lengthscales, weight * (c.f * matern_slope(c.final_squared)))
    slope_g = c.g * matern_slope(c.shortfall_squared) * np.outer(c.left, c.left)
    by_g, from_g = _by_scaled_inputs(c.inputs.values / (lengthscales * ratio), weight * slope_g)
    result = np.zeros(layout.size)
    np.add.at(result, parameter, -(by_f + by_g))
    result[layout.ratio] = -by_g.sum()
    result[layout.f] = 2.0 * np.vdot(weight, c.final)
    result[layout.g] = 2.0 * np.vdot(weight, c.shortfall)
    result[layout.own] = 2.0 * np.vdot(weight, c.own)
    result[layout.noise] = 2.0 * math.exp(2.0 * theta[layout.noise]) * np.trace(weight)
    result[layout.power] = _by_power(layout, theta, points, c, weight, horizon)
    by_inputs = (from_f / lengthscales + from_g / (lengthscales * ratio))[:, is_warped]
    result[layout.bend_low] = (by_inputs * c.inputs.by_low).sum(axis=0)
    result[layout.bend_high] = (by_inputs * c.inputs.by_high).sum(axis=0)
    return result


def _by_scaled_inputs(scaled: Array, slopes: Array) -> tuple[Array, Array]:
    """Return ``sum_ij slopes_ij d(squared distance)``: by the log of each column's factor, and by each input."""
    rows = slopes.sum(axis=1)
    mixed = slopes @ scaled
    by_input = 4.0 * (rows[:, None] * scaled - mixed)
    by_factor = 4.0 * (rows @ (scaled * scaled) - (scaled * mixed).sum(axis=0))
    return by_factor, by_input


def _by_power(layout: Layout, theta: Array, points: CurvePoints, c: Covariance, weight: Array, horizon: int) -> float:
    if horizon == 1:
        return 0.0
    step = 1e-4
    power = theta[layout.power]
    later = still_to_come(points.epochs, power=math.exp(power + step), horizon=horizon)
    earlier = still_to_come(points.epochs, power=math.exp(power - step), horizon=horizon)
    change = (later - earlier) / (2.0 * step)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(c.left > 0.0, change / c.left, 0.0)
    return float(2.0 * relative @ (weight * c.shortfall).sum(axis=1))


def _log_epochs_left(epochs: Array, horizon: int) -> Array:
    """Return how far from the horizon epochs are, 0 there and 1 at the first epoch, in log epochs."""
    if horizon == 1:
        return np.zeros_like(epochs)
    left: Array = 1.0 - np.log(epochs) / math.log(horizon)
    return left


def cross_covariance(layout: Layout, theta: Array, ends: Array, known: Array) -> tuple[Array, float]:
    """Return the covariance of final rewards with points of curves, and the prior variance of a final reward.

    Args:
        layout: Where the hyperparameters are.
        theta: Their logarithms.
        ends: Features of configurations at the horizon, shape ``(m, k)``.
        known: Bent features of the points' curves, shape ``(n, k)``; shortfalls and own ways say nothing more of F.

    Returns:
        Shape ``(m, n)``, and the variance.
    """
    lengthscales = np.exp(theta[layout.lengthscales])[layout.features.parameter]
    f = math.exp(2.0 * theta[layout.f])
    near = bent(layout, theta, ends).values / lengthscales
    cross = squared_distances(near, known / lengthscales)
    matern(cross, out=cross)
    cross += LEVEL_VARIANCE
    cross *= f
    return cross, f * (1.0 + LEVEL_VARIANCE)

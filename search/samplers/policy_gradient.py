"""One step of the policy: natural gradient of reward and entropy, no further than its trust region.

The step solves, within the policy's family,

    maximize  E_new[Q] - temperature * KL(new || prior)   subject to   KL(new || old) <= trust_nats

for the critic's quadratic model of ``Q`` around the old policy. The model's coefficients, a regression of ``Q`` on the
score functions of the policy, *are* the natural gradient (compatible function approximation); the divergence from the
uniform prior is the entropy bonus; the multiplier of the constraint is the reciprocal step size.

Source: Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", Machine
Learning 8 (1992); Peters and Schaal, "Natural actor-critic", Neurocomputing 71 (2008); Wierstra et al., "Natural
evolution strategies", JMLR 15 (2014); Abdolmaleki et al., "Model-based relative entropy stochastic search", NeurIPS
2015; the bound is what the clipping of Schulman et al., "Proximal policy optimization", arXiv 1707.06347,
approximates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from search.samplers.coordinates import Array
from search.samplers.policy_distribution import PolicyDistribution

FLOOR = 0.02
"""Least standard deviation of the Gaussian in any direction; the prior's is 1, which is the most."""

CHOICES_FLOOR = 0.03
"""Share of a choice's draws that is uniform whatever has been learned."""

_FURTHEST = 3.0  # of the mean from 0, where the normal distribution function is 0.9987
_RIDGE = 1e-3  # of the regression on features of variance 1 or 2
_N_BISECTIONS = 16
_MULTIPLIERS = (1e-4, 1e4)  # of the trust region's constraint; the largest one is hardly a step
_LEAST_STEEPNESS = 1e-12  # where there is less, there is no optimum, and the variance tells
_MOST_GROWTH = 1e3  # of a variance in one step


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantages:
    """A quadratic model of the reward in the old policy's own units.

    Attributes:
        slope: By standard normal number, shape ``(q,)``.
        curvature: Symmetric, shape ``(q, q)``.
        choices: Of each choice, one array for each column of choices.
    """

    slope: Array
    curvature: Array
    choices: tuple[Array, ...]


class ScoreRegression:
    """Fits advantages to what is expected of a sample of the policy, whose normal numbers never change.

    Args:
        normals: Standard normal numbers that the sample is drawn with, shape ``(n, q)``.
    """

    def __init__(self, normals: Array) -> None:
        n, n_numeric = normals.shape
        n_features = (n_numeric + 1) * (n_numeric + 2) // 2
        self._quadratic = _BySamples(normals) if n_features > n else _ByFeatures(normals)

    def fitted(self, indicators: tuple[Array, ...], rewards: Array) -> Advantages:
        """Return the model that fits best.

        Args:
            indicators: Of the choices drawn, each of shape ``(n, n_choices)``.
            rewards: Expected ones, shape ``(n,)``.
        """
        rest = rewards - rewards.mean()
        choices = tuple((drawn.T @ rest) / (drawn.sum(axis=0) + 1.0) for drawn in indicators)
        for drawn, gains in zip(indicators, choices, strict=True):
            rest = rest - drawn @ gains
        slope, curvature = self._quadratic.fitted(rest)
        return Advantages(slope=slope, curvature=curvature, choices=choices)


class _ByFeatures:
    """Ridge regression on normal numbers and their products, by the features' covariance.

    Args:
        normals: Shape ``(n, q)``.
    """

    def __init__(self, normals: Array) -> None:
        n, self._n_numeric = normals.shape
        self._pairs = np.triu_indices(self._n_numeric)
        rows, columns = self._pairs
        squares = normals[:, rows] * normals[:, columns] - (rows == columns)
        self._features = np.hstack([np.ones((n, 1)), normals, squares])
        penalty = np.full(self._features.shape[1], _RIDGE * n)
        penalty[0] = 0.0
        self._factor = cho_factor(self._features.T @ self._features + np.diag(penalty), lower=True)

    def fitted(self, rewards: Array) -> tuple[Array, Array]:
        """Return the slope, shape ``(q,)``, and the curvature, shape ``(q, q)``."""
        weights = cho_solve(self._factor, self._features.T @ rewards)
        slope, squares = np.split(weights[1:], [self._n_numeric])
        upper = np.zeros((self._n_numeric, self._n_numeric))
        upper[self._pairs] = squares
        return slope, upper + upper.T


class _BySamples:
    """The same by the samples' inner products, which take less where there are fewer of them than features.

    The products of all pairs are never formed: their inner products follow from those of the normal numbers.

    Source: Saunders, Gammerman and Vovk, "Ridge regression learning algorithm in dual variables", ICML 1998.

    Args:
        normals: Shape ``(n, q)``.
    """

    def __init__(self, normals: Array) -> None:
        self._normals = normals
        linear, squares = normals @ normals.T, normals**2
        products = linear + (linear**2 - squares @ squares.T) / 2.0 + (squares - 1.0) @ (squares - 1.0).T
        centered = products - products.mean(axis=0)  # the mean has no penalty
        centered -= centered.mean(axis=1)[:, None]
        self._factor = cho_factor(centered + _RIDGE * len(normals) * np.eye(len(normals)), lower=True)

    def fitted(self, rewards: Array) -> tuple[Array, Array]:
        """Return the slope, shape ``(q,)``, and the curvature, shape ``(q, q)``."""
        weights = cho_solve(self._factor, rewards - rewards.mean())  # of the samples; their sum is 0
        squares = (self._normals.T * weights) @ self._normals
        return self._normals.T @ weights, squares + np.diag(np.diag(squares))


def stepped(
    old: PolicyDistribution, advantages: Advantages, *, temperature: float, trust_nats: float
) -> PolicyDistribution:
    """Return the policy after one step.

    Args:
        old: The policy that the advantages were sampled from.
        advantages: Model of the rewards around it.
        temperature: What a nat of divergence from the uniform prior costs, in reward, > 0.
        trust_nats: Furthest divergence from the old policy, before the floors, > 0.
    """
    steps = _Steps(old, advantages, temperature)
    low, high = _MULTIPLIERS
    for _ in range(_N_BISECTIONS):
        multiplier = math.sqrt(low * high)
        if steps.nats(multiplier) <= trust_nats:
            high = multiplier
        else:
            low = multiplier
    return _floored(steps.policy(high))


class _Steps:
    """The optima for all multipliers of the trust region, the Gaussian's in the directions of its curvature."""

    def __init__(self, old: PolicyDistribution, advantages: Advantages, temperature: float) -> None:
        self._old = old
        self._temperature = temperature
        self._choices = advantages.choices
        steepness = temperature * old.root.T @ old.root - advantages.curvature
        self._steepness, self._directions = np.linalg.eigh(steepness)
        self._slope = self._directions.T @ (advantages.slope - temperature * old.root.T @ old.mean)

    def nats(self, multiplier: float) -> float:
        """Return the divergence from the old policy, infinite where the quadratic model has no optimum."""
        variances, shift = self._gaussian(multiplier)
        if not np.all((variances > 0.0) & (variances < _MOST_GROWTH)):
            return math.inf
        nats = 0.5 * float(np.sum(variances - 1.0 - np.log(variances) + shift**2))
        for old, new in zip(self._old.shares, self._shares(multiplier), strict=True):
            nats += float(np.sum(new * np.log(new / old)))
        return nats

    def policy(self, multiplier: float) -> PolicyDistribution:
        variances, shift = self._gaussian(multiplier)
        covariance = (self._directions * variances) @ self._directions.T
        return PolicyDistribution(
            mean=self._old.mean + self._old.root @ (self._directions @ shift),
            root=self._old.root @ np.linalg.cholesky(covariance),
            shares=self._shares(multiplier),
        )

    def _gaussian(self, multiplier: float) -> tuple[Array, Array]:
        """Return its variances and the shift of its mean, both in the old one's units, shape ``(q,)``."""
        total = np.maximum(multiplier + self._steepness, _LEAST_STEEPNESS)
        return (multiplier + self._temperature) / total, self._slope / total

    def _shares(self, multiplier: float) -> tuple[Array, ...]:
        total = multiplier + self._temperature
        pairs = zip(self._old.shares, self._choices, strict=True)
        return tuple(_softmax((multiplier * np.log(shares) + gains) / total) for shares, gains in pairs)


def _softmax(logits: Array) -> Array:
    weights = np.exp(logits - logits.max())
    shares: Array = np.maximum(weights / weights.sum(), 1e-12)
    shares /= shares.sum()
    return shares


def _floored(policy: PolicyDistribution) -> PolicyDistribution:
    """Return the policy with no less entropy than the floors leave it, and its mean within reach."""
    values, vectors = np.linalg.eigh(policy.root @ policy.root.T)
    covariance = (vectors * np.clip(values, FLOOR**2, 1.0)) @ vectors.T
    return PolicyDistribution(
        mean=np.clip(policy.mean, -_FURTHEST, _FURTHEST),
        root=np.linalg.cholesky(covariance),
        shares=tuple((1.0 - CHOICES_FLOOR) * each + CHOICES_FLOOR / len(each) for each in policy.shares),
    )

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import qmc

from search.samplers.coordinates import Array, UnitCoordinates
from search.samplers.policy_distribution import PolicyDistribution, standard_normals
from search.samplers.policy_gradient import CHOICES_FLOOR, FLOOR, Advantages, ScoreRegression, stepped
from search.samplers.region import Region

SPACE = UnitCoordinates.of(
    {
        "x": FloatDistribution(0.0, 1.0),
        "kind": CategoricalDistribution(["a", "b", "c"]),
        "n": IntDistribution(1, 4),
    }
)
WHOLE = Region.of(SPACE.names, {})
UNIFORMS = qmc.Sobol(3, seed=np.random.default_rng(0)).random(512)


def a_policy(rng: np.random.Generator, *, spread: float = 0.5) -> PolicyDistribution:
    directions = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    covariance = directions @ np.diag(rng.uniform(0.1, spread, 2) ** 2) @ directions.T
    shares = rng.dirichlet(np.full(3, 5.0)) * 0.9 + 0.1 / 3.0
    return PolicyDistribution(mean=rng.uniform(-1, 1, 2), root=np.linalg.cholesky(covariance), shares=(shares,))


def some_advantages(rng: np.random.Generator, *, size: float) -> Advantages:
    curvature = rng.normal(size=(2, 2)) * size
    return Advantages(
        slope=rng.normal(size=2) * size, curvature=curvature + curvature.T, choices=(rng.normal(size=3) * size,)
    )


def nats(new: PolicyDistribution, old: PolicyDistribution) -> float:
    """The divergence of two Gaussians and two sets of choices, by its formula."""
    covariance, reference = new.root @ new.root.T, np.linalg.inv(old.root @ old.root.T)
    away = new.mean - old.mean
    ratio = reference @ covariance
    gaussian = 0.5 * (np.trace(ratio) + away @ reference @ away - len(away) - np.log(np.linalg.det(ratio)))
    return float(gaussian + np.sum(new.shares[0] * np.log(new.shares[0] / old.shares[0])))


def test_the_prior_is_uniform() -> None:
    units = PolicyDistribution.uniform(SPACE, WHOLE).units(UNIFORMS, SPACE, WHOLE)
    assert units == pytest.approx(SPACE.snap(UNIFORMS), abs=1e-6)


def test_a_policy_for_a_region_draws_evenly_from_it() -> None:
    region = Region.of(SPACE.names, {"x": ((0.0, 0.1), (0.7, 1.0)), "kind": ((0.01, 0.32), (0.68, 0.99))})
    policy = PolicyDistribution.uniform(SPACE, region)
    units = policy.units(UNIFORMS, SPACE, region)
    assert region.contains(units).all()
    assert np.mean(units[:, 0] <= 0.1) == pytest.approx(0.25, abs=0.01)
    kinds = SPACE.choice_indices(units, 1)
    assert (np.bincount(kinds) / len(kinds)).tolist() == pytest.approx([0.5, 0.0, 0.5], abs=0.01)
    (chosen,) = policy.chosen(UNIFORMS[:, [1]])
    assert (np.array([0, 2])[chosen] == kinds).all(), "by their order in the region"
    assert np.unique(units[:, 2]).tolist() == [0.125, 0.375, 0.625, 0.875]


@given(seed=st.integers(0, 10_000), size=st.floats(0.01, 20.0), trust=st.floats(0.01, 0.2))
def test_a_step_stays_within_the_trust_region(seed: int, size: float, trust: float) -> None:
    rng = np.random.default_rng(seed)
    old = a_policy(rng)
    new = stepped(old, some_advantages(rng, size=size), temperature=0.05, trust_nats=trust)
    mixed = sum(CHOICES_FLOOR * np.log(1.0 / each.min()) for each in old.shares)  # what the floor of choices may add
    assert nats(new, old) <= trust * 1.01 + mixed


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), size=st.floats(0.1, 1e3))
def test_no_number_of_steps_leaves_less_entropy_than_the_floors(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    policy, advantages = a_policy(rng, spread=0.2), some_advantages(rng, size=size)
    for _ in range(12):
        policy = stepped(policy, advantages, temperature=1e-6, trust_nats=2.0)
    deviations = np.sqrt(np.linalg.eigvalsh(policy.root @ policy.root.T))
    assert (deviations >= FLOOR * 0.999).all()
    assert (deviations <= 1.001).all()
    assert policy.shares[0].min() >= CHOICES_FLOOR / 3.0 * 0.999
    assert policy.shares[0].sum() == pytest.approx(1.0)


def test_without_rewards_the_entropy_bonus_leads_back_to_the_prior() -> None:
    nothing = Advantages(slope=np.zeros(2), curvature=np.zeros((2, 2)), choices=(np.zeros(3),))
    policy = a_policy(np.random.default_rng(1))
    for _ in range(60):
        policy = stepped(policy, nothing, temperature=0.1, trust_nats=0.5)
    assert policy.mean == pytest.approx(np.zeros(2), abs=0.01)
    assert policy.root @ policy.root.T == pytest.approx(np.eye(2), abs=0.02)
    assert policy.shares[0] == pytest.approx(np.full(3, 1 / 3), abs=0.01)


def test_a_quadratic_reward_is_fitted_exactly() -> None:
    normals = standard_normals(UNIFORMS[:, [0, 2]])
    slope, curvature = np.array([1.0, -2.0]), np.array([[-1.0, 0.5], [0.5, 2.0]])
    rewards = 7.0 + normals @ slope + 0.5 * np.einsum("ni,ij,nj->n", normals, curvature, normals)
    fitted = ScoreRegression(normals).fitted((), rewards)
    assert fitted.slope == pytest.approx(slope, abs=0.01)
    assert fitted.curvature == pytest.approx(curvature, abs=0.02)


@pytest.mark.parametrize("n_samples", [20, 60])
def test_the_fit_is_that_of_ridge_regression_with_more_features_than_samples_too(n_samples: int) -> None:
    rng = np.random.default_rng(2)
    normals, rewards = rng.normal(size=(n_samples, 6)), rng.normal(size=n_samples)
    rows, columns = np.triu_indices(6)  # with the normals and the constant, 28 features
    squares = normals[:, rows] * normals[:, columns] - (rows == columns)
    features = np.hstack([np.ones((n_samples, 1)), normals, squares])
    penalty = 1e-3 * n_samples * np.diag(np.append(0.0, np.ones(27)))
    weights = np.linalg.solve(features.T @ features + penalty, features.T @ (rewards - rewards.mean()))
    fitted = ScoreRegression(normals).fitted((), rewards)
    assert fitted.slope == pytest.approx(weights[1:7], abs=1e-7)
    assert fitted.curvature == pytest.approx(fitted.curvature.T)
    assert fitted.curvature[rows, columns] == pytest.approx(np.where(rows == columns, 2.0, 1.0) * weights[7:], abs=1e-7)


def test_a_hundred_dimensions_are_no_obstacle() -> None:
    normals = standard_normals(qmc.Sobol(100, seed=np.random.default_rng(0)).random(512))
    rewards = 3.0 * normals[:, 7] - normals[:, 8] ** 2
    started = time.process_time()
    fitted = ScoreRegression(normals).fitted((), rewards)
    assert time.process_time() - started < 0.5
    assert np.argmax(fitted.slope) == 7
    assert np.argmin(np.diag(fitted.curvature)) == 8


def test_steps_climb_to_the_optimum() -> None:
    policy = PolicyDistribution.uniform(SPACE, WHOLE)
    regression = ScoreRegression(standard_normals(UNIFORMS[:, [0, 2]]))
    for _ in range(20):
        units = policy.units(UNIFORMS, SPACE, WHOLE)
        rewards = -((units[:, 0] - 0.9) ** 2) + 0.2 * (SPACE.choice_indices(units, 1) == 2) + 0.1 * units[:, 2]
        advantages = regression.fitted((SPACE.one_hot(units, 1),), rewards)
        policy = stepped(policy, advantages, temperature=1e-3, trust_nats=0.5)
    units = policy.units(UNIFORMS, SPACE, WHOLE)
    assert _root_mean_square(units[:, 0] - 0.9) < 0.1
    assert np.mean(SPACE.choice_indices(units, 1) == 2) > 0.95
    assert np.mean(units[:, 2] == units[:, 2].max()) > 0.95


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))

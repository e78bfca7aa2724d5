"""The derivatives by which the Gaussian processes are fitted, against differences of what they are derivatives of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import search.narrowing.surrogate as of_ranks
import search.samplers.critic as of_rewards
import search.surrogate.hyperparameters as of_curves
from search.samplers.critic import Features
from search.surrogate import CurvePoints, FeatureLayout
from search.surrogate.kernel import Layout

Array = of_ranks.Array
Loss = Callable[[Array], tuple[float, Array]]
N = 14
STEP = 1e-5


def features(rng: np.random.Generator) -> Array:
    """Two numbers and the indicators of a choice."""
    return np.hstack([rng.random((N, 2)), np.eye(2)[rng.integers(0, 2, N)] / np.sqrt(2.0)])


def of_a_model_of_curves(rng: np.random.Generator, *, horizon: int) -> tuple[Loss, Array]:
    layout = Layout(FeatureLayout(parameter=np.array([0, 1, 2, 2]), is_warped=np.array([True, True, False, False])))
    points = CurvePoints(
        features=features(rng),
        epochs=rng.integers(1, horizon + 1, N).astype(float),
        curve=rng.integers(0, 6, N),
        rewards=rng.normal(size=N),
    )
    mean, deviation = rng.normal(size=layout.size), rng.uniform(0.5, 2.0, layout.size)
    return (
        lambda theta: of_curves.negative_log_posterior(theta, layout, points, horizon, mean, deviation),
        rng.normal(0.0, 0.3, layout.size),
    )


def of_the_critic(rng: np.random.Generator) -> tuple[Loss, Array]:
    seen, rewards = Features(values=features(rng), parameter=np.array([0, 1, 2, 2])), rng.normal(size=N)
    return (
        lambda logs: of_rewards.negative_log_posterior(logs, seen.squared_distances(3), rewards, 0.2),
        np.append(rng.normal(-0.5, 0.3, 3), -3.0),
    )


def of_the_narrowing_rules(rng: np.random.Generator) -> tuple[Loss, Array]:
    units, scores = rng.random((N, 3)), rng.normal(size=N)
    squared = np.stack([(column[:, None] - column[None]) ** 2 for column in units.T])
    return (
        lambda parameters: of_ranks.negative_log_posterior(parameters, squared, scores),
        np.append(rng.normal(-0.5, 0.3, 3), [0.2, -1.0]),
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "made",
    [
        lambda rng: of_a_model_of_curves(rng, horizon=20),
        lambda rng: of_a_model_of_curves(rng, horizon=1),
        of_the_critic,
        of_the_narrowing_rules,
    ],
    ids=["curves", "curves of one epoch", "critic", "narrowing"],
)
def test_a_gradient_is_what_a_small_step_changes(
    made: Callable[[np.random.Generator], tuple[Loss, Array]], seed: int
) -> None:
    loss, at = made(np.random.default_rng(seed))
    steps = STEP * np.eye(len(at))
    changes = [(loss(at + step)[0] - loss(at - step)[0]) / (2.0 * STEP) for step in steps]
    assert loss(at)[1] == pytest.approx(np.array(changes), rel=1e-5, abs=1e-6)

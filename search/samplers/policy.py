"""The sampler `policy`: a stochastic policy that learns from every trial of the study what to draw next.

For each trial the policy is built anew from the uniform prior by `N_STEPS` natural-gradient steps, each within its
trust region, up the rewards that a critic expects. The critic is a regression on all finished trials, whoever drew
them: that is how old trials are used again. What it is unsure of counts as a chance (optimism), and the entropy bonus
gets smaller with each trial. So a suggestion depends on the seed, the trial's number and the study's trials only:
nothing is stored, and a study that is resumed asks for what it would have asked for without a break.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc

from search.samplers.coordinates import Array, Cells, UnitCoordinates
from search.samplers.critic import Critic, learned_critic
from search.samplers.history import History
from search.samplers.observed_rewards import (
    FINISHED_STATES,
    VALUED_STATES,
    standardized_rewards,
    without_retried,
)
from search.samplers.policy_distribution import PolicyDistribution, standard_normals
from search.samplers.policy_gradient import ScoreRegression, stepped
from search.samplers.proposals import Proposals
from search.samplers.region import Intervals, Region
from search.samplers.seeded_sampler import SeededSampler

N_STEPS = 10
"""Steps from the prior to the policy that a trial is drawn from."""

TRUST_NATS = 0.25
"""Furthest that a step leads from the policy before it, by parameter."""

FIRST_TEMPERATURE = 0.5
"""Price of a nat of entropy after the first trial, in standard deviations of the reward; after n trials 1/n of it."""

OPTIMISM = 2.0
"""How many of its standard deviations the critic adds to the reward that it expects."""

_FEWEST_SAMPLED, _MOST_SAMPLED = 128, 512  # draws of the policy by step; a power of 2
_SAMPLES_PER_FEATURE = 3
_SAMPLING_SEED = 0
_MOST_DRAWS, _MOST_UNIFORM_DRAWS = 16, 256  # of the policy and then of the prior, until one is not a repetition


class PolicySampler(SeededSampler):
    """Reinforcement learning as a sampler: single objective, any parameters, conditional ones too.

    Args:
        seed: Of all draws, >= 0; None for one that differs from run to run. Equal seeds and equal trials give equal
            suggestions.
        n_startup_trials: Trials with a value before the policy learns, >= 1; up to then it is uniform and drawn evenly.
        cells: Of parameters, by name, whose values do not all differ: draws do.
        within: Coordinates of parameters, by name, to which draws are held; the policy learns from all trials.
        proposals: Of samplers that share a study and this process; None for the sampler's own.

    Raises:
        ValueError: If `n_startup_trials` is less than 1.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        n_startup_trials: int = 5,
        cells: Mapping[str, Cells] | None = None,
        within: Mapping[str, Intervals] | None = None,
        proposals: Proposals | None = None,
    ) -> None:
        super().__init__(seed=seed, n_startup_trials=n_startup_trials, cells=cells, within=within, proposals=proposals)

    def _proposed(self, study: Study, trial: FrozenTrial, coordinates: UnitCoordinates) -> dict[str, Any]:
        """Draw from the policy."""
        trials = study.get_trials(deepcopy=False, states=(*FINISHED_STATES, TrialState.RUNNING))
        trials = self._proposals.shown(trials, coordinates)
        finished = without_retried([each for each in trials if each.state in FINISHED_STATES])
        running = [each for each in trials if each.state is TrialState.RUNNING and each.number != trial.number]
        history = History(coordinates, finished, running)
        region = self._region(coordinates)
        policy = PolicyDistribution.uniform(coordinates, region)
        if sum(each.state in VALUED_STATES for each in finished) >= self._n_startup_trials:
            rewards = standardized_rewards(finished, direction=study.direction)
            policy = learned_policy(history, rewards, region)
        return coordinates.decode(self._draw(policy, history, number=trial.number))

    def _draw(self, policy: PolicyDistribution, history: History, *, number: int) -> Array:
        """Return a draw that repeats no trial, if one is found: successive trials' draws are evenly spread."""
        rng = np.random.default_rng([self._seed, number])
        coordinates = history.coordinates
        region = self._region(coordinates)
        prior = PolicyDistribution.uniform(coordinates, region)
        draw: Array
        draw = first = policy.units(self._even(coordinates, number)[None], coordinates, region)
        for source, n_draws in ((policy, _MOST_DRAWS), (prior, _MOST_UNIFORM_DRAWS)):
            for _ in range(n_draws):
                if not history.has(draw):
                    return draw.ravel()
                draw = source.units(rng.random((1, len(coordinates.names))), coordinates, region)
        return first.ravel()


def learned_policy(history: History, rewards: Array, region: Region) -> PolicyDistribution:
    """Return the policy that a study's trials lead to.

    Args:
        history: The trials.
        rewards: Of the finished ones, standardized, shape ``(n,)``, n >= 1.
        region: Where it is to draw.
    """
    coordinates = history.coordinates
    critic = learned_critic(
        history.features(history.finished),
        rewards,
        n_parameters=len(coordinates.names),
        running=history.features(history.running),
    )
    uniforms = _even_uniforms(coordinates)
    regression = ScoreRegression(standard_normals(uniforms[:, ~coordinates.is_choice]))
    policy = PolicyDistribution.uniform(coordinates, region)
    for _ in range(N_STEPS):
        hoped_for = _optimistic(critic, history, policy.units(uniforms, coordinates, region))
        chosen = policy.chosen(uniforms[:, coordinates.is_choice])
        indicators = tuple(np.eye(len(each))[which] for each, which in zip(policy.shares, chosen, strict=True))
        policy = stepped(
            policy,
            regression.fitted(indicators, hoped_for),
            temperature=FIRST_TEMPERATURE / len(rewards),
            trust_nats=TRUST_NATS * len(coordinates.names),
        )
    return policy


def _optimistic(critic: Critic, history: History, units: Array) -> Array:
    expected, deviation = critic.expected(history.features(history.activity.masked(units)))
    hoped_for: Array = expected + OPTIMISM * deviation
    return hoped_for


def _even_uniforms(coordinates: UnitCoordinates) -> Array:
    """Return uniform numbers for a sample of the policy, always the same, shape ``(n, d)``."""
    n_numeric = int(np.sum(~coordinates.is_choice))
    wanted = _SAMPLES_PER_FEATURE * (n_numeric + 1) * (n_numeric + 2) // 2
    n = min(max(1 << (wanted - 1).bit_length(), _FEWEST_SAMPLED), _MOST_SAMPLED)
    sequence = qmc.Sobol(len(coordinates.names), scramble=True, seed=np.random.default_rng(_SAMPLING_SEED))
    uniforms: Array = sequence.random(n)
    return uniforms

"""The sampler `portfolio`: several samplers, of which a bandit learns which one pays.

What a trial is proposed by is drawn from what the trials so far have improved for each epoch (`search.samplers.bandit`)
and kept in the study's user attributes, a name a trial, and under another one what was believed then; nothing else is
stored. A suggestion depends on the seed, the trial's number, the study's trials and what proposed them only.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.samplers.appraisal import appraisals_to_plain
from search.samplers.bandit import Belief, Spending, beliefs, choose, improvements
from search.samplers.coordinates import UnitCoordinates
from search.samplers.observed_rewards import VALUED_STATES, total_violation
from search.samplers.policy import PolicySampler
from search.samplers.seeded_sampler import SeededSampler
from search.samplers.staged_gp import StagedGPSampler

ACTIONS = ("exploit", "refine", "policy", "tpe", "explore")
"""What a trial may be proposed by: `staged_gp`; the same near the best trial; `policy`; TPE; uniform draws."""

_WIDEST, _N_HALVINGS = 0.2, 2.0
_ATTRIBUTE = "portfolio:"
_BELIEFS = "portfolio_beliefs:"  # as text, which is cheap to copy: Optuna copies all attributes for each suggestion


class PortfolioSampler(SeededSampler):
    """A bandit over samplers: single objective, any parameters, conditional ones too.

    Args:
        max_epochs: Epochs of a full training, >= 1, with which the steps of `trial.report` are compared; None for the
            largest one so far.
        n_startup_trials: Trials with a value before there is a choice, >= 1; up to then points are evenly spread.
        seed: Of all draws, >= 0; None for one that differs from run to run. Equal seeds and equal trials give equal
            suggestions.

    Raises:
        ValueError: If `max_epochs` or `n_startup_trials` is less than 1.
    """

    def __init__(self, *, max_epochs: int | None = None, n_startup_trials: int = 5, seed: int | None = None) -> None:
        super().__init__(seed=seed, n_startup_trials=n_startup_trials)
        if max_epochs is not None and max_epochs < 1:
            raise ValueError(f"`max_epochs >= 1` must hold, but got {max_epochs!r}.")
        self._max_epochs = max_epochs

    def _proposed(self, study: Study, trial: FrozenTrial, coordinates: UnitCoordinates) -> dict[str, Any]:
        """Return what the chosen action proposes, and note the choice."""
        known = study.get_trials(deepcopy=False, states=VALUED_STATES)
        n_known = sum(1 for each in known if each.value is not None and math.isfinite(each.value))
        if n_known < self._n_startup_trials:
            return coordinates.decode(self._even(coordinates, trial.number))
        believed = self.beliefs(study)
        if coordinates.is_choice.all():
            del believed["refine"]  # there is nothing to be near to
        seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        choice = choose(believed, seed=[seed, 1])
        action = choice.action
        study.set_user_attr(f"{_ATTRIBUTE}{trial.number}", action)
        study.set_user_attr(f"{_BELIEFS}{trial.number}", json.dumps(appraisals_to_plain(choice.appraisals)))
        if action == "explore":
            return coordinates.decode(np.random.default_rng(seed).random(len(coordinates.names)))
        space = dict(coordinates.distributions)
        return (
            _by_tpe(study, trial, space, seed) if action == "tpe" else self._by_model(action, study, trial, space, seed)
        )

    def beliefs(self, study: Study) -> dict[str, Belief]:
        """Return what is believed of each action, by the study's trials."""
        trials = sorted(study.get_trials(deepcopy=False), key=lambda each: each.number)
        trials = [each for each in trials if each.state.is_finished()]
        sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
        attributes = study.user_attrs
        improved = improvements([_value(each, sign) for each in trials])
        spendings = [
            Spending(
                action=attributes.get(f"{_ATTRIBUTE}{each.number}", ""),
                n_epochs=max(len(each.intermediate_values), 1),
                improvement=improvement,
            )
            for each, improvement in zip(trials, improved, strict=True)
        ]
        return beliefs(spendings, ACTIONS)

    def _by_model(
        self, action: str, study: Study, trial: FrozenTrial, space: dict[str, BaseDistribution], seed: int
    ) -> dict[str, Any]:
        if action == "policy":
            policy = PolicySampler(seed=seed, n_startup_trials=1, proposals=self._proposals)
            return policy.sample_relative(study, trial, space)
        sampler = StagedGPSampler(
            max_epochs=self._max_epochs,
            n_startup_trials=1,
            seed=seed,
            half_width=refined_half_width(seed) if action == "refine" else None,
            proposals=self._proposals,
        )
        return sampler.sample_relative(study, trial, space)


def _by_tpe(study: Study, trial: FrozenTrial, space: dict[str, BaseDistribution], seed: int) -> dict[str, Any]:
    """Return what TPE proposes: together what all trials had, each by itself what only some had.

    Asked for all together, it would go by the trials that had them all, of which there may be none.
    """
    sampler = TPESampler(seed=seed, n_startup_trials=1)
    had_by_all = sampler.infer_relative_search_space(study, trial).keys()
    found: dict[str, Any] = {}
    for name in sorted(space.keys() - had_by_all):
        found |= sampler.sample_relative(study, trial, {name: space[name]})
    return found | sampler.sample_relative(
        study, trial, {name: space[name] for name in sorted(space.keys() & had_by_all)}
    )


def refined_half_width(seed: int) -> float:
    """Return how far from the best trial to look, in ranges, from 0.05 to 0.2.

    Args:
        seed: Of the draw, >= 0, the trial's own.
    """
    return float(_WIDEST * 2.0 ** (-_N_HALVINGS * np.random.default_rng([seed, 2]).random()))


def _value(trial: FrozenTrial, sign: float) -> float | None:
    """Return a complete trial's value, more is better; one that is pruned or breaks constraints improves nothing."""
    is_complete = trial.state is TrialState.COMPLETE and not total_violation(trial)
    return sign * trial.value if is_complete and trial.value is not None else None

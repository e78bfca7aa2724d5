"""Which way to spend the next epochs: a bandit over *actions*, paid by what they improve for each epoch that they cost.

An improvement of the best reward is taken for an event of a Poisson process in the epochs spent: the belief about an
action's rate of events is then a gamma distribution, and epochs without one lower it as they should. What an event is
worth follows from the improvements themselves, so that beliefs do not depend on the reward's unit, nor on improvements
getting smaller as a study goes on. Old evidence fades, for what pays early seldom pays late. An action is chosen where
a draw from its belief is largest (Thompson sampling), but each has at least `FLOOR` of the choices.

Source: Thompson, "On the likelihood that one unknown probability exceeds another", Biometrika 25 (1933); Raj and
Kalyani, "Taming non-stationary bandits: a Bayesian approach", arXiv 1707.09727, for the fading.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search.samplers.appraisal import Appraisal

FADING = 0.97
"""What remains of a trial's evidence with each later one: half after 23 trials."""

FLOOR = 0.05
"""Least share of the choices that an action has; with more than 20 actions, all have the same."""

_PRIOR_EVENTS = 1.0
_APPRAISED_EPOCHS = 100.0
_MOST_SPREADS = 1.0  # that an improvement counts for: the first good point of a study says little about who found it


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """A trial's epochs and what came of them.

    Attributes:
        action: What proposed it; empty if no choice was made.
        n_epochs: Trained for it, >= 0.
        improvement: Of the best reward, in spreads, >= 0 (`improvements`).
    """

    action: str
    n_epochs: float
    improvement: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What is believed of an action: its events by epoch follow the gamma distribution.

    Attributes:
        n_events: Shape, > 0: improvements, those that are faded or small as fractions; the prior's one included.
        n_epochs: Rate, > 0: in which they were made, likewise.
        event: What an event is worth, in spreads, > 0.
    """

    n_events: float
    n_epochs: float
    event: float

    @property
    def mean(self) -> float:
        """Expected improvement by epoch, in spreads."""
        return self.event * self.n_events / self.n_epochs

    def appraised(self, *, rate: float | None = None) -> Appraisal:
        """Return what is to be recorded of it.

        Args:
            rate: Events by epoch that were drawn from it, >= 0; None if nothing was drawn.
        """
        unit = _APPRAISED_EPOCHS * self.event
        return Appraisal(
            mean=unit * self.n_events / self.n_epochs,
            deviation=unit * math.sqrt(self.n_events) / self.n_epochs,
            draw=None if rate is None else unit * rate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The action that is taken, and what was believed of all that were possible.

    Attributes:
        action: Its name.
        appraisals: By action.
    """

    action: str
    appraisals: Mapping[str, Appraisal]


def improvements(rewards: Sequence[float | None]) -> list[float]:
    """Return by how much each trial improved the best reward before it, in spreads; 0 if it did not.

    The spread is the distance from the median of the rewards before it, of two the better one, to the best of them.
    Nothing is told of a trial while that is nothing.

    Args:
        rewards: Of trials in order, more is better; None or not finite for a trial without any.
    """
    known: list[float] = []
    found: list[float] = []
    for reward in rewards:
        if reward is None or not math.isfinite(reward):
            found.append(0.0)
            continue
        spread = known[-1] - known[len(known) // 2] if known else 0.0
        found.append(min(max(0.0, (reward - known[-1]) / spread), _MOST_SPREADS) if spread > 0.0 else 0.0)
        insort(known, reward)
    return found


def beliefs(spendings: Sequence[Spending], actions: Sequence[str]) -> dict[str, Belief]:
    """Return what is believed of each action.

    All have the same prior, an event in as many epochs as one takes on average; so an action that has not been tried is
    believed to be like the others, and may be anything.

    Args:
        spendings: Trials in the order of their numbers; those of other actions are left out.
        actions: Those that there are.
    """
    told = [each for each in spendings if each.action in actions]
    fading = [FADING**age for age in reversed(range(len(told)))]
    improved = [weight for weight, each in zip(fading, told, strict=True) if each.improvement > 0.0]
    gained = [weight * each.improvement for weight, each in zip(fading, told, strict=True)]
    spent = [weight * each.n_epochs for weight, each in zip(fading, told, strict=True)]
    event = math.fsum(gained) / math.fsum(improved) if improved else 1.0
    prior_epochs = _PRIOR_EVENTS * (math.fsum(spent) or 1.0) / max(math.fsum(improved), _PRIOR_EVENTS)
    return {
        action: Belief(
            n_events=_PRIOR_EVENTS + _of(action, told, gained) / event,
            n_epochs=prior_epochs + _of(action, told, spent),
            event=event,
        )
        for action in actions
    }


def choose(believed: Mapping[str, Belief], *, seed: int | Sequence[int]) -> Choice:
    """Return the action to take, with what is believed.

    Args:
        believed: Of each action that is possible, at least one.
        seed: Of the draw, >= 0, the trial's own.
    """
    rng = np.random.default_rng(seed)
    actions = list(believed)
    floor = min(FLOOR, 1.0 / len(actions))
    forced = rng.random() / floor
    if forced < len(actions):
        appraisals = {action: each.appraised() for action, each in believed.items()}
        return Choice(action=actions[int(forced)], appraisals=appraisals)
    rates = [float(rng.gamma(each.n_events)) / each.n_epochs for each in believed.values()]
    appraisals = {action: believed[action].appraised(rate=rate) for action, rate in zip(actions, rates, strict=True)}
    return Choice(action=actions[int(np.argmax(rates))], appraisals=appraisals)


def _of(action: str, told: Sequence[Spending], amounts: Sequence[float]) -> float:
    return math.fsum(amount for each, amount in zip(told, amounts, strict=True) if each.action == action)

"""The forecast rule: a trial stops when its extrapolated learning curve is unlikely to end above the best one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr

from search.curve_coordinates import CurveCoordinates
from search.pruner_settings import ForecastSettings
from search.pruning.epoch_rewards import EpochRewards
from search.samplers.curve_model import CurveModel
from search.samplers.learning_curves import Curve, excerpt
from search.search_space import SearchSpace
from search.trial import TrialRecord, TrialState

_STEP = 1.5
_FIRST_SHARE = 0.25  # of the schedule, before a trial is judged unless the settings say otherwise
_N_AT_FULL_RISK = 25  # other trials up to which all of the risk is taken
_TAIL_DEGREES = 4.0  # of freedom of Student's t: extrapolations err by much more often than normal errors would


class ForecastPruner:
    """Prunes a trial that, as its curve and those of all others tell, will hardly end better than the best so far.

    The curves of all trials, short and long, are one Gaussian process over hyperparameters and epochs
    (`search.surrogate`); of it follows how probable it is that a trial's reward at the end of its schedule beats the
    best one that any other trial has reached, but for those that diverged, failed or break a constraint: by its
    hyperparameters, by its own curve, whose best value never falls, and by chance. Below the risk, the trial stops,
    unless the risk is less than the share of the longer curves that have gained as much from that epoch on as this one
    needs: few curves may mislead a model. It is judged at `min_epochs` and whenever its epochs have grown by half
    since.

    With more than 25 other trials the risk falls with the square of their number: any single trial stopped wrongly is
    then worth more than the epochs saved, and the risks of all trials have a finite sum, however many there are.

    Source: Swersky, Snoek and Adams, "Freeze-thaw Bayesian optimization", arXiv 1406.3896; Domhan, Springenberg and
    Hutter, "Speeding up automatic hyperparameter optimization of deep neural networks by extrapolation of learning
    curves", IJCAI 2015 (the criterion).

    Args:
        settings: The risk with up to 25 other trials, and when the rule begins.
        rewards: What is compared.
        space: The study's dimensions; their limits are what coordinates are relative to.
    """

    def __init__(self, settings: ForecastSettings, rewards: EpochRewards, space: SearchSpace) -> None:
        self._settings = settings
        self._rewards = rewards
        self._coordinates = CurveCoordinates(space)
        self._curves: dict[int, dict[int, Curve]] = {}  # by horizon and number
        self._numbers: dict[str, int] = {}
        self._continued_by: dict[int, int] = {}  # where the curve of the one is that of the other
        self._out_of_the_running: set[int] = set()

    def learn(self, record: TrialRecord) -> None:
        """Take the trial's curve; it stands for that of the trial that it continues, once it is as long.

        That of one that failed does not: the other is what it was.
        """
        curve, number = self._curve(record), record.number
        if number is None or not curve.best:
            return
        self._numbers[record.key] = number
        curves = self._curves.setdefault(record.horizon_epochs, {})
        continued, has_failed = self._numbers.get(record.continues, -1), record.state is TrialState.FAILED
        if has_failed or record.state is TrialState.DIVERGED or not self._rewards.is_rival(record):
            self._out_of_the_running.add(number)
        else:
            self._out_of_the_running.discard(number)
        if continued in curves:
            self._continued_by.pop(continued, None)
            if has_failed:
                curves.pop(number, None)
                return
            if curves[continued].n_epochs <= curve.n_epochs:
                self._continued_by[continued] = number
        curves[number] = curve

    def prune_reason(self, record: TrialRecord) -> str:
        """Return why the trial should be stopped after its last epoch, or an empty string."""
        epoch = len(record.epochs)
        if epoch >= record.n_epochs or not self._is_due(epoch, record.horizon_epochs):
            return ""
        curve = self._curve(record)
        curves = self._curves.get(record.horizon_epochs, {})
        others = {
            number: each
            for number, each in sorted(curves.items())
            if number != record.number and number not in self._continued_by
        }
        longer = [each for each in others.values() if each.n_epochs > epoch]
        if curve.n_epochs != epoch or len(others) < self._settings.n_startup_trials or not longer:
            return ""
        rivals = others.keys() - self._out_of_the_running
        best = max((others[number].reached for number in rivals), default=-math.inf)
        if curve.reached >= best or not self._coordinates.units.names:
            return ""
        if _share_that_gained(longer, after=epoch, at_least=best - curve.reached) >= self._settings.risk:
            return ""
        peers = list(others.values())
        shown = [*(peers[index] for index in excerpt(peers)), curve]
        model = CurveModel(self._coordinates.units, shown, horizon=record.horizon_epochs)
        chance = _chance(model, reached=curve.reached, best=best)
        risk = self._settings.risk * min(1.0, _N_AT_FULL_RISK / len(others)) ** 2
        if not chance < risk:
            return ""
        sign = self._rewards.direction.sign
        return (
            f"{self._rewards.word} {sign * curve.reached:.6g} by epoch {epoch} has a chance of {chance:.2g} not to end "
            f"{self._rewards.worse} {sign * best:.6g}, the best of the trials so far; the risk is {risk:.2g}"
        )

    def _is_due(self, epoch: int, horizon: int) -> bool:
        due = float(self._settings.min_epochs or max(1, math.ceil(_FIRST_SHARE * horizon)))
        while round(due) < epoch:
            due *= _STEP
        return round(due) == epoch

    def _curve(self, record: TrialRecord) -> Curve:
        """Return the rewards; where the gap has grown since, what an epoch had before counts for no more."""
        sign, standings = self._rewards.direction.sign, self._rewards.so_far(record)
        reached = sign * next(reversed(standings.values()), 0.0)
        values = {epoch: min(sign * reward, reached) for epoch, reward in self._rewards.of(record).items()}
        if values and record.state is TrialState.STOPPED_EARLY:
            values[record.n_epochs] = max(values.values())  # flat to its end
        return Curve.of(self._coordinates.params(record.hyperparameters), values)


def _share_that_gained(curves: Sequence[Curve], *, after: int, at_least: float) -> float:
    """Return which share of curves, at least one, has gained so much since an epoch; more is better."""
    gains = (each.reached - max((v for n, v in each.best.items() if n <= after), default=math.inf) for each in curves)
    return sum(gain >= at_least for gain in gains) / len(curves)


def _chance(model: CurveModel, *, reached: float, best: float) -> float:
    """Return how probable it is that the model's last curve ends above `best`, which it has not reached.

    What chance adds to a training counts as well as what its hyperparameters let expect, and that the best value of a
    curve never falls again: it is expected to end no worse than it is.
    """
    mean, deviation = (float(each[0]) for each in model.final(model.units[-1:]))
    to_beat, standing = model.scale.standardized(np.array([best, reached])).tolist()
    return float(stdtr(_TAIL_DEGREES, (max(mean, standing) - to_beat) / math.hypot(deviation, model.noise)))

"""What a study on the synthetic surface is told beforehand: truths, and things that mislead."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial
from quality_surface import Number, random_point
from synthetic_surface import SyntheticSurface

_PAST = "past"
_PRIOR_DECADES = 1.0
_SPREAD = 1.0 / 6.0  # of a range's width on its scale
_OFF_DECADES = 3.0  # from a wrong prior to the best learning rate

Plain = dict[str, Any]
_Reward = Callable[[Mapping[str, Number], np.random.Generator], float]


def told(variant: str, plain: Plain, *, instance: str, noise: float, n_past: int, directory: Path) -> Plain:
    """Return the study as plain data with what a variant tells it.

    Args:
        variant: One of `VARIANTS`.
        plain: The study without.
        instance: Of its surface.
        noise: Of its surface.
        n_past: Trainings of the earlier study.
        directory: Where the storage of the earlier study may be made.
    """
    surface = SyntheticSurface(instance, noise=noise)
    return VARIANTS[variant](plain, surface, _Teller(instance, noise, n_past, directory))


class _Teller:
    """Makes earlier studies, of random trainings of full length."""

    def __init__(self, instance: str, noise: float, n_past: int, directory: Path) -> None:
        self.instance = instance
        self._noise = noise
        self._n_past = n_past
        self._directory = directory

    def study(self, reward: _Reward) -> Plain:
        """Return the entry of an earlier study whose trainings earned what `reward` says."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        random = np.random.default_rng([int(self.instance), 11])
        file = self._directory / "past.journal"
        storage = JournalStorage(JournalFileBackend(str(file)))
        study = optuna.create_study(storage=storage, study_name=_PAST, direction="maximize")
        for _ in range(self._n_past):
            point = random_point(SyntheticSurface.ranges, random)
            study.add_trial(
                create_trial(
                    params={f"model.{name}": value for name, value in point.items()},
                    distributions=_DISTRIBUTIONS,
                    value=reward(point, random),
                )
            )
        return {"studies": [{"study": _PAST, "storage": str(file)}]}

    def surface(self, instance: str) -> SyntheticSurface:
        return SyntheticSurface(instance, noise=self._noise)


_DISTRIBUTIONS: dict[str, BaseDistribution] = {
    f"model.{each.name}": (
        IntDistribution(int(each.low), int(each.high), log=each.is_log)
        if each.is_int
        else FloatDistribution(each.low, each.high, log=each.is_log)
    )
    for each in SyntheticSurface.ranges
}


def _nothing(plain: Plain, surface: SyntheticSurface, teller: _Teller) -> Plain:
    del surface, teller
    return plain


def _same_task(plain: Plain, surface: SyntheticSurface, teller: _Teller) -> Plain:
    return {**plain, "warm_start": teller.study(lambda point, _: surface.curve(point)[-1])}


def _close_task(plain: Plain, surface: SyntheticSurface, teller: _Teller) -> Plain:
    """The optimum of the earlier study lies half a decade away."""

    def reward(point: Mapping[str, Number], _: np.random.Generator) -> float:
        return surface.curve({**point, "learning_rate": point["learning_rate"] * math.sqrt(10.0)})[-1]

    return {**plain, "warm_start": teller.study(reward)}


def _inverted(plain: Plain, surface: SyntheticSurface, teller: _Teller) -> Plain:
    return {**plain, "warm_start": teller.study(lambda point, _: 1.0 - surface.curve(point)[-1])}


def _elsewhere(plain: Plain, surface: SyntheticSurface, teller: _Teller) -> Plain:
    """Another surface, whose optimum is another one."""
    del surface
    other = teller.surface(str(int(teller.instance) + 1000))
    return {**plain, "warm_start": teller.study(lambda point, _: other.curve(point)[-1])}


def _chance(plain: Plain, surface: SyntheticSurface, teller: _Teller) -> Plain:
    del surface
    return {**plain, "warm_start": teller.study(lambda _, random: float(random.random()))}


def _good_list(plain: Plain, surface: SyntheticSurface, teller: _Teller) -> Plain:
    """One configuration, a third of a decade from the best learning rate and else the best."""
    del teller
    values = {**surface.optimum, "learning_rate": surface.optimum["learning_rate"] * 2.0}
    return {**plain, "warm_start": {"configurations": [{f"model.{name}": each for name, each in values.items()}]}}


def _bad_list(plain: Plain, surface: SyntheticSurface, teller: _Teller) -> Plain:
    """Three of which none can be any good."""
    random = np.random.default_rng([int(teller.instance), 12])
    points = [{**random_point(surface.ranges, random), "learning_rate": rate} for rate in (0.9, 0.5, 1.1e-6)]
    listed = [{f"model.{name}": value for name, value in point.items()} for point in points]
    return {**plain, "warm_start": {"configurations": listed}}


def _with_prior(plain: Plain, mean: float) -> Plain:
    name = "model.learning_rate"
    entry = {**plain["space"][name], "prior": {"mean": mean, "decades": _PRIOR_DECADES}}
    return {**plain, "space": {**plain["space"], name: entry}}


def _right_prior(plain: Plain, surface: SyntheticSurface, teller: _Teller) -> Plain:
    """Off by half a decade in the mean."""
    shift = np.random.default_rng([int(teller.instance), 13]).normal(0.0, 0.5)
    return _with_prior(plain, min(max(surface.optimum["learning_rate"] * 10.0**shift, 1e-6), 1.0))


def _wrong_prior(plain: Plain, surface: SyntheticSurface, teller: _Teller) -> Plain:
    """Three decades from the best learning rate, as far as the range goes."""
    del teller
    best = math.log10(surface.optimum["learning_rate"])
    mean = best - _OFF_DECADES if best - _OFF_DECADES >= -6.0 else best + _OFF_DECADES
    return _with_prior(plain, 10.0 ** min(max(mean, -6.0), 0.0))


def _all_right(plain: Plain, surface: SyntheticSurface, teller: _Teller) -> Plain:
    """A prior over each of the five, off by half of its standard deviation, which is a sixth of the range."""
    random = np.random.default_rng([int(teller.instance), 14])
    return _with_all_priors(plain, surface, [_SPREAD * shift for shift in random.normal(0.0, 0.5, len(surface.ranges))])


def _all_wrong(plain: Plain, surface: SyntheticSurface, teller: _Teller) -> Plain:
    """A prior over each of the five, half of the range from the best value."""
    del teller
    return _with_all_priors(plain, surface, [0.5] * len(surface.ranges))


def _with_all_priors(plain: Plain, surface: SyntheticSurface, shifts: Sequence[float]) -> Plain:
    """Return the study with priors whose means are off by shares of the ranges, inwards where they would leave them."""
    space = dict(plain["space"])
    for each, shift in zip(surface.ranges, shifts, strict=True):
        scale = math.log10 if each.is_log else float
        low, width = scale(each.low), scale(each.high) - scale(each.low)
        best = (scale(surface.optimum[each.name]) - low) / width
        at = low + width * (best + shift if 0.0 <= best + shift <= 1.0 else best - shift)
        mean = min(max(10.0**at if each.is_log else at, each.low), each.high)
        entry = {"mean": mean, "decades" if each.is_log else "spread": _SPREAD * width}
        space[f"model.{each.name}"] = {**space[f"model.{each.name}"], "prior": entry}
    return {**plain, "space": space}


BASELINE = "nothing"
VARIANTS: dict[str, Callable[[Plain, SyntheticSurface, _Teller], Plain]] = {
    BASELINE: _nothing,
    "past: same task": _same_task,
    "past: close task": _close_task,
    "past: elsewhere": _elsewhere,
    "past: chance": _chance,
    "past: inverted": _inverted,
    "list: good": _good_list,
    "list: bad": _bad_list,
    "prior: right": _right_prior,
    "prior: wrong": _wrong_prior,
    "priors: all right": _all_right,
    "priors: all wrong": _all_wrong,
}
"""What a study can be told, by name."""

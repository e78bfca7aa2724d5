"""A space of Optuna's with a known optimum, for the samplers."""

from __future__ import annotations

import math

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-6, 1.0, log=True),
    "depth": IntDistribution(1, 8),
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "drop": FloatDistribution(0.0, 0.8),
}


def loss(trial: Trial) -> float:
    """Least, 0, at a rate of 1e-3, the most depth, kind b and no drop."""
    rate = math.log10(trial.suggest_float("rate", 1e-6, 1.0, log=True)) + 3.0
    depth = trial.suggest_int("depth", 1, 8) - 8
    drop = trial.suggest_float("drop", 0.0, 0.8)
    return rate**2 / 4.0 + depth**2 / 20.0 + (trial.suggest_categorical("kind", ["a", "b", "c"]) != "b") + drop

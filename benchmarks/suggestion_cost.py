"""What a suggestion costs, by sampler and by how many trials the study has: processor time, and its ratio to TPE's.

A study of Optuna's with eight numeric parameters, a choice and a conditional one, and trials of 4, 12 and 52 epochs.
Suggestions are made one after another, each told what a full training of it shows before the next one, so that a
sampler's model is fitted anew as often as in a search.

    python benchmarks/suggestion_cost.py --trials 100 300 1000 5000
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from table_cells import header, line

from search.samplers.mixed import MixedSampler
from search.samplers.policy import PolicySampler
from search.samplers.portfolio import PortfolioSampler
from search.samplers.staged_gp import StagedGPSampler

_N_EPOCHS = (4, 12, 52)  # of the trials, in turn; the last is a full training
_NUMERIC = {f"x{index}": FloatDistribution(1e-6, 1.0, log=True) for index in range(8)}
_CHOICE = CategoricalDistribution(["sgd", "nesterov", "adamw"])
_CONDITIONAL = FloatDistribution(0.5, 0.999)

_SAMPLERS: Mapping[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
    "staged_gp": lambda seed: StagedGPSampler(max_epochs=_N_EPOCHS[-1], seed=seed),
    "policy": lambda seed: PolicySampler(seed=seed),
    "mixed": lambda seed: MixedSampler(max_epochs=_N_EPOCHS[-1], seed=seed),
    "portfolio": lambda seed: PortfolioSampler(max_epochs=_N_EPOCHS[-1], seed=seed),
}
_BASELINE = "tpe"


def suggestion_seconds(sampler: str, *, n_trials: int, n_suggestions: int, seed: int) -> list[float]:
    """Return the processor time of each suggestion, in seconds.

    Args:
        sampler: One of the names of `_SAMPLERS`.
        n_trials: Trials that have finished before the first suggestion, >= 0.
        n_suggestions: How many are asked for, >= 1.
        seed: Of the trials and of the sampler.
    """
    rng = np.random.default_rng(seed)
    study = optuna.create_study(direction="maximize", sampler=_SAMPLERS[sampler](seed))
    study.add_trials([_finished(rng, _N_EPOCHS[index % len(_N_EPOCHS)]) for index in range(n_trials)])
    seconds = []
    for _ in range(n_suggestions):
        started = time.process_time()
        trial = study.ask()
        params = _suggested(trial)
        seconds.append(time.process_time() - started)
        curve = _curve(params, _N_EPOCHS[-1])
        for epoch, value in curve.items():
            trial.report(value, epoch)
        study.tell(trial, max(curve.values()))
    return seconds


def _suggested(trial: optuna.Trial) -> dict[str, Any]:
    params: dict[str, Any] = {
        name: trial.suggest_float(name, each.low, each.high, log=each.log) for name, each in _NUMERIC.items()
    }
    params["optimizer"] = trial.suggest_categorical("optimizer", _CHOICE.choices)
    if params["optimizer"] != "adamw":
        params["momentum"] = trial.suggest_float("momentum", _CONDITIONAL.low, _CONDITIONAL.high)
    return params


def _finished(rng: np.random.Generator, n_epochs: int) -> optuna.trial.FrozenTrial:
    params: dict[str, Any] = {name: 10.0 ** rng.uniform(-6.0, 0.0) for name in _NUMERIC}
    distributions: dict[str, BaseDistribution] = {**_NUMERIC, "optimizer": _CHOICE}
    params["optimizer"] = str(rng.choice(_CHOICE.choices))
    if params["optimizer"] != "adamw":
        params["momentum"] = rng.uniform(_CONDITIONAL.low, _CONDITIONAL.high)
        distributions["momentum"] = _CONDITIONAL
    curve = _curve(params, n_epochs)
    return optuna.trial.create_trial(
        params=params, distributions=distributions, value=max(curve.values()), intermediate_values=curve
    )


def _curve(params: Mapping[str, Any], n_epochs: int) -> dict[int, float]:
    """Return a made-up validation accuracy by epoch: best where all numeric parameters are 1e-3."""
    distance = sum(((math.log10(params[name]) + 3.0) / 3.0) ** 2 for name in _NUMERIC) / len(_NUMERIC)
    final = 0.9 - 0.4 * distance - (0.1 if params["optimizer"] == "sgd" else 0.0)
    return {epoch: final * (1.0 - math.exp(-4.0 * epoch / _N_EPOCHS[-1])) for epoch in range(1, n_epochs + 1)}


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 300, 1000, 5000], metavar="N")
    parser.add_argument("--samplers", nargs="+", choices=_SAMPLERS, default=["staged_gp", "policy"])
    parser.add_argument("--suggestions", type=int, default=30, metavar="N", help="of each row, one after another")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"{platform.platform()}, {os.cpu_count()} cores, {datetime.datetime.now(datetime.UTC).date()}: ", end="")
    print("benchmarks/suggestion_cost.py", *arguments)
    print("\n".join(header("trials", "sampler", "ms, median", "ms, mean", "ms, longest", f"mean / {_BASELINE}'s")))
    for n_trials in chosen.trials:
        baseline = 0.0
        for name in dict.fromkeys([_BASELINE, *chosen.samplers]):
            taken = suggestion_seconds(name, n_trials=n_trials, n_suggestions=chosen.suggestions, seed=chosen.seed)
            mean = statistics.mean(taken)
            baseline = baseline or mean
            cells = [f"{1000.0 * each:.3g}" for each in (statistics.median(taken), mean, max(taken))]
            print(line(str(n_trials), name, *cells, f"{mean / baseline:.3g}"), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""The methods by name: zeroin with its ablations, its own samplers, and peers, each through its own package."""

from __future__ import annotations

import functools
import importlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import optuna_methods
from asked_method import AskedMethod, Suggestions, Workers
from epoch_meter import EpochMeter
from model_peers import DehbMethod, HeboMethod, SmacMethod
from neps_method import NepsMethod
from optuna_methods import OptunaMethod
from quality_surface import SurfaceError

OURS = "zeroin"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peer:
    """How a peer is made.

    Attributes:
        make: Of the meter and the seed.
        modules: What must be there to be imported.
        package: Whose version is recorded.
    """

    make: Callable[[EpochMeter, int], AskedMethod]
    modules: tuple[str, ...]
    package: str


def _optuna(sampler: str, *, pruner: str = "", modules: tuple[str, ...] = ()) -> _Peer:
    def make(meter: EpochMeter, seed: int) -> AskedMethod:
        chosen = getattr(optuna_methods, pruner) if pruner else None
        made = functools.partial(optuna_methods.optunas, sampler)
        return OptunaMethod(meter.surface, sampler=made, pruner=chosen, seed=seed)

    return _Peer(make=make, modules=("optuna", *modules), package="optuna")


def _smac(*, is_multi_fidelity: bool) -> _Peer:
    def make(meter: EpochMeter, seed: int) -> AskedMethod:
        return SmacMethod(
            meter.surface, is_multi_fidelity=is_multi_fidelity, budget_epochs=meter.budget_epochs, seed=seed
        )

    return _Peer(make=make, modules=("smac",), package="smac")


def _neps(*, is_multi_fidelity: bool) -> _Peer:
    def make(meter: EpochMeter, seed: int) -> AskedMethod:
        return NepsMethod(meter.surface, is_multi_fidelity=is_multi_fidelity, seed=seed)

    return _Peer(make=make, modules=("torch", "neps"), package="neural-pipeline-search")


PEERS: dict[str, _Peer] = {
    "random": _optuna("RandomSampler"),
    "tpe": _optuna("TPESampler"),
    "tpe-hyperband": _optuna("TPESampler", pruner="hyperband"),
    "tpe-median": _optuna("TPESampler", pruner="median"),
    "cmaes": _optuna("CmaEsSampler", modules=("cmaes",)),
    "gp": _optuna("GPSampler", modules=("torch",)),
    "random-asha": _optuna("RandomSampler", pruner="asha"),
    "smac-blackbox": _smac(is_multi_fidelity=False),
    "smac-multifidelity": _smac(is_multi_fidelity=True),
    "dehb": _Peer(make=lambda meter, seed: DehbMethod(meter.surface, seed=seed), modules=("dehb",), package="DEHB"),
    "hebo": _Peer(
        make=lambda meter, seed: HeboMethod(meter.surface, seed=seed),
        modules=("torch", "hebo.optimizers.hebo"),
        package="HEBO",
    ),
    "neps-hyperband": _neps(is_multi_fidelity=True),
    "neps-bayesian": _neps(is_multi_fidelity=False),
}


SAMPLERS: dict[str, _Peer] = {
    "policy": _Peer(
        make=lambda meter, seed: OptunaMethod(meter.surface, sampler=optuna_methods.policy, seed=seed),
        modules=("search.samplers.policy",),
        package=OURS,
    ),
}
"""Samplers of zeroin's own in a study of Optuna's: full trainings, no stages."""

_ASKED = PEERS | SAMPLERS


def is_ours(name: str) -> bool:
    """Return whether a method is zeroin, an ablation of it or a sampler of its own."""
    return _is_study(name) or name in SAMPLERS


def _is_study(name: str) -> bool:
    return name == OURS or name.startswith(f"{OURS}-")


def why_left_out(name: str) -> str:
    """Return why a method cannot be run here, or an empty string if it can.

    Raises:
        SurfaceError: If no method has that name.
    """
    if not _is_study(name) and name not in _ASKED:
        raise SurfaceError(
            "a method must be zeroin, zeroin-no-narrowing, zeroin-no-pruning, zeroin-median, zeroin-promote, "
            f"zeroin-SAMPLER or one of {', '.join(_ASKED)}, but got {name!r}."
        )
    for module in ("zeroin_method",) if _is_study(name) else _ASKED[name].modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            return f"{module} cannot be imported: {error}"
    if _is_study(name):
        from zeroin_method import variant

        variant(name)
    return ""


@functools.cache
def version_of(name: str) -> str:
    """Return which version of which package a method is, of zeroin with the commit that was checked out at first."""
    if not is_ours(name):
        return f"{PEERS[name].package} {version(PEERS[name].package)}"
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    described = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return f"{OURS} {version(OURS)} {described.stdout.strip()}".strip()


def run_method(name: str, meter: EpochMeter, *, n_workers: int, seed: int) -> Suggestions:
    """Run a method until the budget is spent.

    Args:
        name: Of the method.
        meter: Pays for the epochs, and knows what they showed afterwards.
        n_workers: Asynchronous workers, >= 1.
        seed: Of everything random, in ``[0, 2**31)``.
    """
    if _is_study(name):
        from zeroin_method import run_zeroin, variant

        return run_zeroin(variant(name), meter, n_workers=n_workers, seed=seed)
    method = _ASKED[name].make(meter, seed)
    return Workers(method, meter, n_workers=n_workers, seed=seed).run()

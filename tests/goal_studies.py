"""Studies with constraints and with several objectives, for virtual workers, and the command line over them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from plain_study import BELL
from virtual_engine import VirtualEngine, bell_curve

from search.cli.main import exit_code_of
from search.engines.choice import PlacedEngine
from search.messages import TrialAssignment

MEASURED = ("val_acc", "gap_acc", "epoch_seconds", "n_parameters")
PLAN: dict[str, Any] = {
    "stages": [
        {"name": "coarse", "n_trials": 12, "max_epochs": 2},
        {"name": "fine", "n_trials": 6, "max_epochs": 4, "promote": 2},
    ],
    "finish": {"top_k": 2, "n_seeds": 2, "ensemble": False},
}
BOUNDED: dict[str, Any] = {
    **BELL,
    **PLAN,
    "study": "bounded",
    "stages": [PLAN["stages"][0], {**PLAN["stages"][1], "sampler": "qmc"}],  # which does not learn to keep them
    "constraints": {"gap_acc": {"at_most": 0.05}, "epoch_seconds": {"at_most": 9.0}},
}
TWO_FOLD: dict[str, Any] = {
    **{key: value for key, value in BELL.items() if key != "objective"},
    **PLAN,
    "study": "two-fold",
    "objectives": [{"monitor": "val_acc", "direction": "maximize"}, {"monitor": "gap_acc", "direction": "minimize"}],
}


def rising_gap(assignment: TrialAssignment, epoch: int) -> dict[str, float]:
    """The gap grows with the learning rate, on which accuracy depends: 0.05 is kept up to 3e-4, 1e-3 is best."""
    rate = float(assignment.assembly.model_args["learning_rate"])
    gap = 0.02 * (math.log10(rate) + 6.0)
    return {**bell_curve(assignment, epoch), "gap_acc": gap, "epoch_seconds": 1.0 + epoch, "n_parameters": 7.0}


def engine(**options: Any) -> VirtualEngine:
    """Workers that train with a rising gap."""
    return VirtualEngine(**{"metrics": rising_gap, "measured": MEASURED, **options})


def zeroin(monkeypatch: pytest.MonkeyPatch, *arguments: str, make: Callable[[], VirtualEngine] = engine) -> int:
    """Run a command in this process, with virtual workers; return its exit code."""

    def place(*_: Any, **__: Any) -> PlacedEngine:
        return PlacedEngine(engine=make(), notice="")

    monkeypatch.setattr("search.studies_api.running.place_engine", place)
    return exit_code_of(list(arguments))

"""What a trial costs the coordinator does not depend on how many came before it: calls are counted, not seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from plain_study import MINIMAL
from study_runs import run_session
from surface_trials import OBJECTIVE, finished_trial
from virtual_engine import VirtualEngine

from search.comparable_rewards import ComparableRewards
from search.paths import StateDirectory
from search.sampling import MOST_OBSERVATIONS
from search.search_space import IntLogRange, SearchSpace
from search.study_file import definition_from_plain


def n_calls(action: Callable[[], object]) -> int:
    """Return how many functions, Python's and C's, an action calls in this thread."""
    count = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def study_calls(root: Path, *, n_trials: int, sampler: str) -> int:
    plain: dict[str, Any] = {
        "study": "growing",
        "seed": 1,
        "model": {"class_path": "package.Net"},
        "objective": {"monitor": "val_acc", "direction": "maximize"},
        "space": {"model.learning_rate": {"log": [1.0e-6, 1.0]}, "model.dropout": {"linear": [0.0, 0.9]}},
        "stages": [{"name": "only", "n_trials": n_trials, "max_epochs": 3, "sampler": sampler}],
        "pruner": "median",
        "early_stopping": "none",
        "finish": "none",
    }
    study = definition_from_plain(plain)
    state = StateDirectory(root=root / f"{sampler}-{n_trials}")
    return n_calls(lambda: run_session(state, VirtualEngine(n_slots=4), study))


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe"])
def test_a_later_trial_costs_no_more_than_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    monkeypatch.setitem(MOST_OBSERVATIONS, "tpe", 16)
    study_calls(tmp_path / "first", n_trials=40, sampler=sampler)  # what is imported and cached once
    small, middle, large = (study_calls(tmp_path, n_trials=n, sampler=sampler) for n in (40, 80, 160))
    assert (large - middle) / 80 < 1.15 * (middle - small) / 40


def test_asking_for_two_ranges_in_turns_costs_no_more_the_more_trials_there_are() -> None:
    """A stage's narrower ranges, and the declared ones that `staged_gp` learns from."""
    whole = definition_from_plain(MINIMAL).space
    box = SearchSpace(dimensions=(replace(whole["model.width"], range=IntLogRange(low=8, high=16)),))

    def asked(n_trials: int) -> int:
        rewards = ComparableRewards(OBJECTIVE)
        for number in range(n_trials):
            rewards.add(
                finished_trial({"model.width": 8 + number % 57}, [0.5], number=number, stage=0, horizon_epochs=1)
            )

        def in_turns() -> None:
            for ranges in (box, whole) * 5:
                rewards.informative(ranges, at_most=16)
                rewards.n_inside(ranges)

        in_turns()  # what is sorted once
        return n_calls(in_turns)

    assert asked(800) < 1.5 * asked(100)

"""Suggestions and verdicts compute with one thread, so that busy cores do not slow them; then all is as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from goal_studies import engine
from optuna.study import Study
from optuna.trial import FrozenTrial
from plain_study import BELL
from study_runs import run_session
from threadpoolctl import threadpool_info, threadpool_limits

from search.observer import SilentObserver
from search.paths import StateDirectory
from search.samplers.coordinates import UnitCoordinates
from search.samplers.seeded_sampler import SeededSampler
from search.study_file import definition_from_plain
from search.trial import TrialRecord


def n_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info()}


class Listening(SeededSampler):
    def __init__(self) -> None:
        super().__init__(seed=0, n_startup_trials=1)
        self.n_threads: set[int] = set()

    def _proposed(self, study: Study, trial: FrozenTrial, coordinates: UnitCoordinates) -> dict[str, Any]:
        self.n_threads |= n_threads()
        return coordinates.decode(self._even(coordinates, trial.number))


@pytest.mark.usefixtures("quiet_optuna")
def test_a_sampler_computes_with_one_thread_and_leaves_the_others_as_they_were() -> None:
    sampler = Listening()
    with threadpool_limits(limits=2):
        optuna.create_study(sampler=sampler).optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=3)
        assert n_threads() == {2}
    assert sampler.n_threads == {1}


@pytest.mark.usefixtures("untracked")
def test_a_study_computes_with_one_thread_and_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    found: set[int] = set()

    class Ear(SilentObserver):
        def trial_started(self, record: TrialRecord) -> None:
            found.update(n_threads())

    stages = [{"name": "only", "n_trials": 3, "max_epochs": 1}]
    definition = definition_from_plain({**BELL, "stages": stages, "finish": "none"})
    with threadpool_limits(limits=2):
        run_session(StateDirectory(root=tmp_path), engine(), definition, observer=Ear())
        assert n_threads() == {2}
    assert found == {1}

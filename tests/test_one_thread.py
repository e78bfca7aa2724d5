"""Suggestions and verdicts compute with one thread, so that busy cores do not slow them; then all is as before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from search.one_thread import one_thread
from search.paths import StateDirectory
from search.samplers.coordinates import UnitCoordinates
from search.samplers.seeded_sampler import SeededSampler
from search.study_file import definition_from_plain
from search.trial import TrialRecord


def n_threads(*, api: str = "") -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if api in each["user_api"]}


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two for all, set by a thread that has ended: one that is alive may keep others from setting it."""
    with ThreadPoolExecutor(max_workers=1) as gone:
        limits = gone.submit(threadpool_limits, limits=2).result()
    yield
    with ThreadPoolExecutor(max_workers=1) as gone:
        gone.submit(limits.restore_original_limits).result()


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


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("first_to_leave", [0, 1])
def test_of_threads_that_are_inside_at_once_the_last_one_leaves_all_as_it_was(first_to_leave: int) -> None:
    blocks = [one_thread(), one_thread()]
    with ThreadPoolExecutor(max_workers=1) as one, ThreadPoolExecutor(max_workers=1) as other:
        threads = [one, other]
        own = [thread.submit(n_threads, api="openmp").result() for thread in threads]  # torch's, each thread's own
        for thread, block in zip(threads, blocks, strict=True):
            thread.submit(block.__enter__).result()
            assert thread.submit(n_threads).result() == {1}
        for index, left in ((first_to_leave, {1}), (1 - first_to_leave, {2})):
            threads[index].submit(blocks[index].__exit__, None, None, None).result()
            assert n_threads(api="blas") == left
            assert threads[index].submit(n_threads, api="openmp").result() == own[index]


@pytest.mark.usefixtures("two_threads")
def test_a_block_in_a_block_ends_nothing() -> None:
    with one_thread():
        with one_thread():
            pass
        assert n_threads(api="blas") == {1}
    assert n_threads(api="blas") == {2}


@pytest.mark.usefixtures("two_threads", "quiet_optuna")
def test_suggestions_made_by_several_threads_leave_all_as_it_was() -> None:
    study = optuna.create_study(sampler=Listening())
    study.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=40, n_jobs=4)
    assert n_threads(api="blas") == {2}

"""Killed at random moments and resumed, a study ends as if nothing had happened."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kill_and_resume import MISSED, Kill, check, prepare, run_and_kill, run_to_end

from search.study_record import StudyRecord

pytestmark = pytest.mark.slow

N_KILLS = 4
LATEST_SECONDS = 7.0
"""After the first epoch; the study takes longer than that on any machine that this is run on."""


# Four coordinators' starts and resumes, two at a time, next to whatever else the machine does.
@pytest.mark.timeout(600)
def test_a_killed_study_ends_as_an_undisturbed_one(
    tmp_path: Path, copied_mlflow_database: Callable[[Path], Path]
) -> None:
    kills = [
        Kill(victim=("coordinator", "worker")[index % 2], after_seconds=random.uniform(0.0, LATEST_SECONDS))
        for index in range(N_KILLS)
    ]

    def run(kill: Kill | None) -> tuple[str, StudyRecord]:
        directory = tmp_path / ("undisturbed" if kill is None else f"killed-{kills.index(kill)}")
        prepare(directory)
        copied_mlflow_database(directory / "mlruns" / "mlflow.db")
        moment = "" if kill is None else run_and_kill(directory, kill)
        return moment, run_to_end(directory)

    with ThreadPoolExecutor(2) as pool:
        (_, expected), *killed = pool.map(run, [None, *kills])
    for index, (kill, (moment, record)) in enumerate(zip(kills, killed, strict=True)):
        try:
            check(record, expected, tmp_path / f"killed-{index}", n_coordinator_kills=1)
        except AssertionError as error:
            error.add_note(f"{kill} hit at {moment}")
            raise
    assert any(moment != MISSED for moment, _ in killed)

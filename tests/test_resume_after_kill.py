"""Killed at random moments and resumed, a study ends as if nothing had happened."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kill_and_resume import MISSED, Kill, check, prepare, run_and_kill, run_to_end

from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_record import StudyRecord

pytestmark = pytest.mark.slow

N_STUDIES = 2
LATEST_SECONDS = 7.0
"""After a session's first epoch; the study takes longer than that on any machine that this is run on."""


# Five coordinators' starts, two at a time, next to whatever else the machine does.
@pytest.mark.timeout(600)
def test_a_killed_study_ends_as_an_undisturbed_one(
    tmp_path: Path, copied_mlflow_database: Callable[[Path], Path]
) -> None:
    # The first session is killed, the one that resumes it loses its worker and goes on to the end.
    kills = [
        [Kill(victim=victim, after_seconds=random.uniform(0.0, LATEST_SECONDS)) for victim in ("coordinator", "worker")]
        for _ in range(N_STUDIES)
    ]

    def run(number: int | None) -> tuple[list[str], StudyRecord]:
        directory = tmp_path / f"study-{number}"
        prepare(directory)
        copied_mlflow_database(directory / "mlruns" / "mlflow.db")
        if number is None:
            return [], run_to_end(directory)
        moments = [run_and_kill(directory, kill) for kill in kills[number]]
        return moments, read_study("short", directory=StateDirectory(root=directory / "mlruns"))

    with ThreadPoolExecutor(2) as pool:
        (_, expected), *killed = pool.map(run, [None, *range(N_STUDIES)])
    for number, (moments, record) in enumerate(killed):
        try:
            check(record, expected, tmp_path / f"study-{number}", n_kills=len(kills[number]))
        except AssertionError as error:
            error.add_note(f"{kills[number]} hit at {moments}")
            raise
    assert any(moment != MISSED for moments, _ in killed for moment in moments)

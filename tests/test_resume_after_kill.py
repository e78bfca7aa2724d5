"""Killed at random moments and resumed, a study ends as if nothing had happened."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from command_line import CommandLine
from forked_workers import WorkerTemplate
from kill_and_resume import MISSED, Kill, check, prepare, run_and_kill

from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_record import StudyRecord

pytestmark = pytest.mark.slow

N_STUDIES = 2
LATEST_SECONDS = 7.0
"""After a session's first epoch; the study takes longer than that on any machine that this is run on."""


# Four coordinators' starts, two at a time, next to whatever else the machine does.
@pytest.mark.timeout(600)
def test_a_killed_study_ends_as_an_undisturbed_one(
    tmp_path: Path, copied_mlflow_database: Callable[[Path], Path], worker_template: WorkerTemplate
) -> None:
    # The first session is killed, the one that resumes it loses its worker and goes on to the end.
    kills = [
        [Kill(victim=victim, after_seconds=random.uniform(0.0, LATEST_SECONDS)) for victim in ("coordinator", "worker")]
        for _ in range(N_STUDIES)
    ]

    def disturbed(number: int) -> tuple[list[str], StudyRecord]:
        directory = tmp_path / f"study-{number}"
        prepare(directory)
        copied_mlflow_database(directory / "mlruns" / "mlflow.db")
        moments = [run_and_kill(directory, kill) for kill in kills[number]]
        return moments, read_study("short", directory=StateDirectory(root=directory / "mlruns"))

    calm = CommandLine(directory=tmp_path / "calm")
    prepare(calm.directory)
    copied_mlflow_database(calm.home / "mlflow.db")
    with worker_template.used():
        done = calm.called("run", "short.yaml", "--devices", "cpu:1", "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    expected = read_study("short", directory=StateDirectory(root=calm.home))
    with ThreadPoolExecutor(N_STUDIES) as pool:
        killed = list(pool.map(disturbed, range(N_STUDIES)))
    n_hits = 0
    for number, (moments, record) in enumerate(killed):
        try:
            check(record, expected, tmp_path / f"study-{number}", n_kills=len(kills[number]))
        except AssertionError as error:
            error.add_note(f"{kills[number]} hit at {moments}")
            raise
        n_hits += sum(moment != MISSED for moment in moments)
    assert n_hits

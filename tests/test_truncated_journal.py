"""A journal whose end is lost, as after a power failure: the epoch logs have what it lacks, and nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
from test_coordinator import fingerprint, run
from virtual_engine import Faults, KilledError, VirtualEngine

from search.paths import StateDirectory
from search.study_record import StudyRecord

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, copied_mlflow_database: Any) -> StudyRecord:
    state = StateDirectory(root=tmp_path_factory.mktemp("undisturbed"))
    copied_mlflow_database(state.mlflow_database)
    return run(state, VirtualEngine())


@pytest.mark.parametrize("n_lines_lost", [1, 30])
def test_a_study_goes_on_with_what_its_epoch_logs_say(
    n_lines_lost: int,
    tmp_path_factory: pytest.TempPathFactory,
    copied_mlflow_database: Any,
    expected: StudyRecord,
) -> None:
    state = StateDirectory(root=tmp_path_factory.mktemp("truncated"))
    copied_mlflow_database(state.mlflow_database)
    first = VirtualEngine(faults=Faults(killed_after_polls=50))
    with pytest.raises(KilledError):
        run(state, first)
    lines = state.optuna_journal.read_bytes().splitlines(keepends=True)
    kept, lost = lines[:-n_lines_lost], lines[-n_lines_lost]
    state.optuna_journal.write_bytes(b"".join(kept) + lost[: len(lost) // 2])
    second = VirtualEngine(checkpoints=first.checkpoints)
    assert fingerprint(run(state, second)) == fingerprint(expected)
    assert len({*first.trained} & {*second.trained}) <= 1  # the epoch under way

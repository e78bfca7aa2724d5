"""A test step or a test loader that raises does not end the study: it is mended, and the study goes on to its end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plain_study import BELL
from study_runs import run_session
from virtual_engine import VirtualEngine, usual_test

from search.errors import StudyFailedError
from search.messages import TestAssignment, TestResult
from search.paths import StateDirectory
from search.studies_api import read_study
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain
from search.study_record import StudyState

TRACE = """Traceback (most recent call last):
  File "/home/me/package.py", line 7, in test_step
    return batch["label"]
KeyError: 'label'
"""


def definition() -> StudyDefinition:
    stages = [{"name": "only", "n_trials": 2, "max_epochs": 2, "sampler": "random"}]
    return definition_from_plain({**BELL, "stages": stages, "finish": {"top_k": 1, "n_seeds": 1}})


@pytest.mark.usefixtures("untracked")
def test_an_error_of_the_test_step_is_told_and_the_split_read_again_once_it_is_mended(state: StateDirectory) -> None:
    def raising(assignment: TestAssignment) -> TestResult:
        return replace(usual_test(assignment), members=(), ensemble={}, error="KeyError: 'label'", traceback=TRACE)

    checkpoints: dict[str, int] = {}
    with pytest.raises(StudyFailedError) as failure:
        run_session(state, VirtualEngine(checkpoints=checkpoints, test=raising), definition())
    told = str(failure.value)
    assert "the test split could not be read: KeyError: 'label'" in told and "line 7, in test_step" in told
    assert "zeroin resume bell" in told
    assert read_study("bell", directory=state).state is StudyState.UNFINISHED

    engine = VirtualEngine(checkpoints=checkpoints)
    record = run_session(state, engine, definition())
    assert engine.trained == []  # all but the reading was done
    assert record.result is not None
    assert record.result.test_members == ({"test_acc": 0.9, "test_loss": 0.1},)
    assert record.result.n_test_readings == 2  # the first one may have shown something

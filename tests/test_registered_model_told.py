"""What is said of a registered model: how many members its probabilities are the mean of, or which refit it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from reported_studies import text_of

from search.cli.result_story import result_story
from search.study_definition import Ensemble, FinishSettings
from search.study_record import StudyRecord


@pytest.mark.parametrize(
    ("ensemble", "n_members", "told"),
    [
        (Ensemble.SEEDS, 2, "the mean of 2 members"),
        (Ensemble.SNAPSHOTS, 6, "the mean of 6 members"),
        (Ensemble.SNAPSHOTS, 1, "refit-seed0"),
        (Ensemble.NONE, 2, "refit-seed0"),
    ],
)
def test_it_is_told_what_the_registered_model_is(
    finished: StudyRecord, ensemble: Ensemble, n_members: int, told: str
) -> None:
    settings: dict[str, Any] = {"top_k": 1, "n_seeds": 2, "ensemble": ensemble}
    assert finished.result is not None
    record = replace(
        finished,
        definition=replace(finished.definition, finish=FinishSettings(**settings)),
        result=replace(finished.result, test_members=({"test_acc": 0.9},) * n_members),
        model_uri="models:/digits/1",
    )
    assert f"Registered model models:/digits/1: {told}\n" in text_of(result_story(record, width=80))
    assert "Registered model" not in text_of(result_story(replace(record, model_uri=""), width=80))

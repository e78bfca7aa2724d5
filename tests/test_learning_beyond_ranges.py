"""Studies whose later stages have narrower ranges: what their sampler learns from, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plain_study import BELL
from study_runs import run_session
from virtual_engine import VirtualEngine

from search.comparable_rewards import comparable_observations
from search.paths import StateDirectory
from search.sampling import propose
from search.search_space import Hyperparameters, SearchSpace
from search.seeds import derived_seed
from search.study_file import definition_from_plain
from search.study_record import StudyRecord
from search.trial import FinishedTrial

NARROWED: dict[str, Any] = {
    **BELL,
    "study": "narrowed",
    "narrow": "quantile_box",
    "stages": [
        {"name": "coarse", "n_trials": 24, "max_epochs": 3},
        {"name": "fine", "n_trials": 6, "max_epochs": 3},
    ],
    "pruner": "none",
    "finish": "none",
}


def asked_again(record: StudyRecord, number: int, *, sampler: str, declared: SearchSpace | None) -> Hyperparameters:
    """Return what the sampler of the second stage proposes when the trials before that number are finished."""
    definition, opening = record.definition, record.openings[1]
    finished = [FinishedTrial(record=each.record, score=each.score) for each in record.trials[:number] if each.score]
    return propose(
        box=opening.narrowed.space,
        sampler=sampler,
        direction=definition.objective.direction,
        observations=comparable_observations(finished, objective=definition.objective),
        running=(),
        stage="fine",
        stage_seed=derived_seed(definition.seed, "stage", 1),
        trial_seed=derived_seed(definition.seed, "sampling", number),
        index_in_stage=number - opening.first_trial_number,
        target_epochs=3,
        declared=declared,
    )


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("sampler", ["staged_gp", "policy", "mixed"])
def test_a_stage_with_narrower_ranges_learns_from_the_trials_outside_them(sampler: str, tmp_path: Path) -> None:
    coarse, fine = NARROWED["stages"]
    definition = definition_from_plain({**NARROWED, "stages": [coarse, {**fine, "sampler": sampler}]})
    record = run_session(StateDirectory(root=tmp_path), VirtualEngine(), definition)
    box = record.openings[1].narrowed.space
    known = [each.record.hyperparameters for each in record.trials[:24]]
    assert 0 < sum(map(box.contains, known)) < 24, "some trials lie outside"
    differ = []
    for trial in record.trials[24:]:
        proposed, number = trial.record.hyperparameters, trial.record.number
        assert number is not None
        assert box.contains(proposed)
        assert proposed == asked_again(record, number, sampler=sampler, declared=record.definition.space)
        differ.append(proposed != asked_again(record, number, sampler=sampler, declared=None))
    assert any(differ), "what lies outside makes a difference"

"""Earlier studies, and priors, in studies with constraints and several objectives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from goal_studies import BOUNDED, TWO_FOLD, engine
from plain_study import BELL
from rich.console import Console
from study_runs import run_session

from search.cli.trials_table import trials_table
from search.coordinator.stores import default_storage
from search.paths import StateDirectory
from search.storage import past_trials
from search.study_file import definition_from_plain
from search.study_record import StudyRecord

pytestmark = pytest.mark.usefixtures("untracked")

RATE = "model.learning_rate"
SHORT: dict[str, Any] = {"stages": [{"name": "only", "n_trials": 16, "max_epochs": 2}], "finish": "none"}
STAGES = [
    {"name": "coarse", "n_trials": 12, "max_epochs": 1},
    {"name": "fine", "n_trials": 4, "max_epochs": 2, "sampler": "tpe"},
    {"name": "finest", "n_trials": 4, "max_epochs": 4, "sampler": "policy"},
]


def run(tmp_path: Path, plain: dict[str, Any], **changes: Any) -> StudyRecord:
    definition = definition_from_plain({**plain, **SHORT, **changes})
    return run_session(StateDirectory(root=tmp_path), engine(), definition)


def best_first(tmp_path: Path, name: str, plain: dict[str, Any]) -> list[int]:
    """Numbers of an earlier study's trials, by what a new study makes of them."""
    objective = definition_from_plain({**plain, **SHORT}).objective
    trials = past_trials(default_storage(StateDirectory(root=tmp_path)), name, objective=objective)
    return [int(each.name.removeprefix("trial ")) for each in sorted(trials, key=lambda each: -each.reward)]


def test_what_broke_the_constraints_is_not_tried_again_first(tmp_path: Path) -> None:
    earlier = run(tmp_path, BOUNDED)
    scores = {each.record.number: each.score for each in earlier.trials if each.score is not None}
    by_metric = sorted(scores, key=lambda number: -scores[number].best_value)
    assert best_first(tmp_path, "bounded", BELL) == by_metric
    bounded = best_first(tmp_path, "bounded", BOUNDED)
    n_kept = sum(not score.violation > 0.0 for score in scores.values())
    assert 0 < n_kept < len(scores)
    assert scores[by_metric[0]].violation > 0.0, "else the order would be the same"
    assert bounded[:n_kept] == [number for number in by_metric if not scores[number].violation > 0.0]
    again = run(tmp_path, BOUNDED, study="again", stages=STAGES, warm_start={"studies": ["bounded"]})
    assert again.trials[0].record.origin == f"bounded, trial {bounded[0]}"


def test_bounds_on_what_the_earlier_study_did_not_measure_do_not_rank_it(tmp_path: Path) -> None:
    earlier = run(tmp_path, BELL, study="plain")
    values = {each.record.number: each.score.best_value for each in earlier.trials if each.score is not None}
    assert best_first(tmp_path, "plain", BOUNDED) == sorted(values, key=lambda number: -values[number])


def test_bounds_do_not_rank_what_was_measured_where_a_gap_weight_had_it(tmp_path: Path) -> None:
    earlier = run(tmp_path, BOUNDED, objective={**BELL["objective"], "gap_weight": 0.1})
    values = {each.record.number: each.score.best_value for each in earlier.trials if each.score is not None}
    by_metric = sorted(values, key=lambda number: -values[number])
    assert best_first(tmp_path, "bounded", BOUNDED) == by_metric


def test_a_front_is_tried_again_by_one_objective_or_by_all(tmp_path: Path) -> None:
    earlier = run(tmp_path, TWO_FOLD)
    scores = {each.record.number: each.score for each in earlier.trials if each.score is not None}
    by_metric = sorted(scores, key=lambda number: -scores[number].best_value)
    assert best_first(tmp_path, "two-fold", BELL) == by_metric
    ends = {by_metric[0], min(scores, key=lambda number: scores[number].losses)}
    assert set(best_first(tmp_path, "two-fold", TWO_FOLD)[:2]) == ends
    again = run(tmp_path, TWO_FOLD, study="again", warm_start={"studies": ["two-fold"]})
    assert {each.record.origin for each in again.trials[:2]} == {f"two-fold, trial {number}" for number in ends}


@pytest.mark.parametrize("plain", [BOUNDED, TWO_FOLD], ids=["constraints", "objectives"])
def test_a_prior_goes_with_them(tmp_path: Path, plain: dict[str, Any]) -> None:
    space = {RATE: {**BELL["space"][RATE], "prior": {"mean": 1e-4, "decades": 0.3}}}
    rates = [
        float(each.record.hyperparameters[RATE]) for each in run(tmp_path, plain, space=space, stages=STAGES).trials
    ]
    assert len(rates) == 20
    assert sum(2.5e-5 < rate < 4e-4 for rate in rates[:12]) >= 6


@pytest.mark.parametrize("width", [80, 160])
def test_a_narrow_table_leaves_out_what_was_measured_first(tmp_path: Path, width: int) -> None:
    stages = [STAGES[0], {**STAGES[1], "promote": 1}]
    record = run(tmp_path, BOUNDED, stages=stages, warm_start={"configurations": [{RATE: 1e-3}]})
    console = Console(width=width)
    with console.capture() as capture:
        console.print(trials_table(record, record.trials, width=width))
    head, first, *_ = capture.get().splitlines()
    words = ["#", "continues", "stage", "state", "epochs", "val_acc", "gap", "kept", "time"]
    assert head.split()[: len(words)] == words
    assert "coarse, warm" in first and "complete" in first and " no " in first
    assert ("epoch_seconds" in head) == (width == 160)
    assert ("No room here for epoch_seconds, learning_rate" in capture.get()) == (width == 80)

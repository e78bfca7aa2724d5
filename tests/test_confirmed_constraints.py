"""Which constraints a confirmed winner keeps: the means over its seeds decide, wherever it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from goal_studies import BOUNDED, engine, rising_gap
from reported_studies import text_of
from study_runs import run_session

from search.cli.best import best_plain, best_report
from search.cli.status import status_plain, status_report
from search.messages import TrialAssignment
from search.paths import StateDirectory
from search.study_file import definition_from_plain
from search.study_record import StudyRecord
from search.tracking.study_note import result_note

pytestmark = pytest.mark.usefixtures("untracked")

NO_CONTENDER = "No contender keeps all constraints in the mean over its seeds"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., StudyRecord]:
    """Runs a study whose configurations have other gaps over seeds than in the search: the first and the second one."""

    def run_study(*gaps: float, in_search: float | None = None) -> StudyRecord:
        confirmed: list[str] = []

        def metrics(assignment: TrialAssignment, epoch: int) -> dict[str, float]:
            found, key = rising_gap(assignment, epoch), assignment.trial_key
            if not key.startswith("confirm-"):
                return found if in_search is None else {**found, "gap_acc": in_search}
            number = key.split("-")[1]
            confirmed.extend([number] if number not in confirmed else [])
            found["val_acc"] = 0.8 + 0.1 * key.endswith("seed1") - 0.001 * confirmed.index(number)
            return {**found, "gap_acc": gaps[confirmed.index(number)]}

        plain: dict[str, Any] = {**BOUNDED, "stages": [{"name": "coarse", "n_trials": 8, "max_epochs": 2}]}
        return run_session(StateDirectory(root=tmp_path), engine(metrics=metrics), definition_from_plain(plain))

    return run_study


def test_a_winner_that_breaks_a_constraint_over_seeds_is_nowhere_told_to_keep_it(
    run: Callable[..., StudyRecord],
) -> None:
    record = run(0.2, 0.3)
    plain, result = best_plain(record), record.result
    assert plain is not None and result is not None
    assert plain["measured"]["gap_acc"] <= 0.05
    assert (plain["feasible"], plain["violation"]) == (False, pytest.approx(3.0))
    contenders = plain["confirmed"]["contenders"]
    assert [each["measured"]["gap_acc"] for each in contenders] == pytest.approx([0.2, 0.3])
    assert [each["violation"] for each in contenders] == pytest.approx([3.0, 5.0])
    assert status_plain(record)["none_is_feasible"] is True
    best = text_of(best_report(record, width=120), width=120)
    assert "kept; over seeds 0.2000, broken" in best
    for text in (best, text_of(status_report(record), width=120), result_note(record, result)):
        assert NO_CONTENDER in text
    (notice,) = result.notices
    assert notice.startswith("no contender keeps all constraints (gap_acc <= 0.05")


def test_a_rival_that_breaks_a_constraint_is_told_apart_from_a_winner_that_keeps_them(
    run: Callable[..., StudyRecord],
) -> None:
    record = run(0.2, 0.01)
    assert record.result is not None
    winner, rival = record.result.confirmations
    assert winner.interval is not None and rival.interval is not None
    assert winner.violation == 0.0 < rival.violation and winner.mean < rival.mean < winner.interval[1]
    text = text_of(best_report(record, width=160), width=160)
    assert "Noise between seeds" in text and "Not told apart" not in text
    assert "kept; over seeds 0.0100, kept" in text


def test_a_winner_that_keeps_over_seeds_what_no_trial_kept_is_feasible(run: Callable[..., StudyRecord]) -> None:
    record = run(0.01, 0.01, in_search=0.2)
    plain = best_plain(record)
    assert plain is not None and record.result is not None
    assert (plain["feasible"], plain["violation"]) == (True, 0.0)
    assert status_plain(record)["none_is_feasible"] is False
    assert record.result.notices == ()
    assert "Not told apart" in text_of(best_report(record, width=160), width=160)

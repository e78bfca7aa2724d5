"""What the plan of a study, and its status, say of its stages, its budget and its end."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from reported_studies import every_report, text_of

from search.cli import figures
from search.cli.formats import strict_json
from search.cli.plan import plan_report
from search.cli.result_story import result_story
from search.cli.status import status_plain, status_report
from search.cli.tables import studies_table
from search.study_definition import Budget, EndEarly, NarrowRule, StudyDefinition
from search.study_file import definition_from_plain, definition_to_plain
from search.study_record import (
    EarlyEnd,
    Outlook,
    Spent,
    StudyRecord,
)
from search.study_views import StudySummary


def test_the_plan_adds_up(definition: StudyDefinition) -> None:
    text = text_of(plan_report(definition))
    searched = 48 * 2 + 24 * 6 + 12 * 24
    assert f"{searched + 9 * 24 + 3 * 24:,} epochs" in text
    for dimension in definition.space:
        assert dimension.name in text


def test_the_plan_shows_priors_if_there_are_any(definition: StudyDefinition) -> None:
    assert "prior" not in text_of(plan_report(definition))
    plain = definition_to_plain(definition)
    plain["space"]["model.learning_rate"]["prior"] = {"mean": 1e-3, "decades": 1}
    plain["space"]["model.momentum"]["prior"] = {"mean": 0.9, "decades": 0.5}
    lines = [line.split() for line in text_of(plan_report(definition_from_plain(plain))).splitlines()]
    assert ["hyperparameter", "range", "prior", "only", "if"] in lines
    assert ["model.learning_rate", "[1e-05,", "1]", "0.001", "±", "1", "decade"] in lines


@pytest.mark.parametrize(
    ("n_trials", "rules", "expected"),
    [
        ((32, 4, 9), ("posterior",) * 3, ["as declared", "as declared: too few trials", "narrowed (posterior)"]),
        ((32, 3, 9), ("posterior",) * 3, ["as declared", *["as declared: too few trials"] * 2]),
        ((36, 4, 9), ("none", "posterior", "none"), ["as declared", "narrowed (posterior)", "as before"]),
        ((8, 4, 9), ("trust_region",) * 3, ["as declared", "as declared: too few trials", "narrowed (trust_region)"]),
        ((8, 3, 9), ("quantile_box",) * 3, ["as declared", *["as declared: too few trials"] * 2]),
        ((12, 4, 9), ("posterior", "none", "trust_region"), ["as declared", "as declared", "narrowed (trust_region)"]),
    ],
)
def test_the_plan_says_which_stages_may_have_other_ranges(
    definition: StudyDefinition, n_trials: tuple[int, ...], rules: tuple[str, ...], expected: list[str]
) -> None:
    stages = tuple(
        replace(stage, n_trials=n, sampler="tpe", narrow=NarrowRule(rule=rule))
        for stage, n, rule in zip(definition.stages, n_trials, rules, strict=True)
    )
    text = text_of(plan_report(replace(definition, stages=stages)), width=120)
    rows = [line for line in text.splitlines() if line.split()[:1] in (["coarse"], ["medium"], ["fine"])]
    assert [row.split(" tpe ")[1].strip() for row in rows] == expected


def test_the_plan_counts_a_trial_and_its_continuation_once(definition: StudyDefinition) -> None:
    def ranges_of_last(promote: int) -> str:
        stages = tuple(
            replace(stage, n_trials=n, promote=n_continuing, sampler="tpe", narrow=NarrowRule(rule="posterior"))
            for stage, n, n_continuing in zip(definition.stages, (32, 4, 9), (0, promote, 0), strict=True)
        )
        text = text_of(plan_report(replace(definition, stages=stages)), width=120)
        (row,) = [line for line in text.splitlines() if line.split()[:1] == ["fine"]]
        return row

    assert "narrowed (posterior)" in ranges_of_last(0)
    assert "as declared: too few trials" in ranges_of_last(1)


def test_a_search_that_may_end_early_says_so_before_and_why_afterwards(record: StudyRecord) -> None:
    assert "ends early" not in text_of(plan_report(record.definition))
    assert "ended early" not in text_of(status_report(record))
    asking = replace(record.definition, end_early=EndEarly(gain_below=0.002, min_trials=40))
    assert "ends early, after 40 trials at the least, when further ones cannot gain 0.002" in text_of(
        plan_report(asking), width=120
    )
    outlook = Outlook(expected_gain=0.0001, possible_gain=0.001, noise=0.01)
    end = EarlyEnd(reason="after 5 finished trials", outlook=outlook, n_finished=44, n_left=40, time_ms=0)
    record = replace(record, spent=Spent(wall_seconds=60.0, worker_seconds=60.0, n_epochs=99, n_workers=1))
    assert status_plain(record)["seconds_left"] > 0.0
    ended = replace(record, definition=asking, early_end=end)
    assert "The search ended early: after 5 finished trials" in text_of(status_report(ended))
    plain = json.loads(strict_json(status_plain(ended)))
    assert (plain["ended_early"]["outlook"]["noise"], plain["seconds_left"]) == (0.01, None)
    for part in every_report(ended, width=80):
        assert max(map(len, text_of(part).splitlines())) <= 80


def test_the_plan_says_how_many_trials_continue_others(definition: StudyDefinition) -> None:
    assert "continue" not in text_of(plan_report(definition))
    coarse, medium, fine = definition.stages
    text = text_of(plan_report(replace(definition, stages=(coarse, medium, replace(fine, promote=2)))), width=120)
    lines = [line.split() for line in text.splitlines()]
    assert [line[-1] for line in lines if line[:1] in (["coarse"], ["medium"], ["fine"])] == ["0", "0", "2"]
    assert "promotion save some" in text


def test_the_plan_says_what_it_may_cost(definition: StudyDefinition) -> None:
    assert "budget" not in text_of(plan_report(definition))
    text = text_of(plan_report(replace(definition, budget=Budget(hours=8.0, n_trials=40))))
    assert "budget: 8 hours, 40 trials" in text
    assert "its trials are shared: coarse 22, medium 11, fine 7" in text


def opened(definition: StudyDefinition, **budget: float) -> StudyDefinition:
    """The study with a last stage of as many trials as the budget allows."""
    *earlier, last = definition.stages
    bounds = definition_from_plain({**definition_to_plain(definition), "budget": budget}).budget
    return replace(definition, stages=(*earlier, replace(last, n_trials=None)), budget=bounds)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (
            {"epochs": 2600},
            (
                "as many trials as 2,600 epochs allow",
                "coarse 96, medium 144, fine 2,360",
                "at most 2,888 epochs in all",
            ),
        ),
        ({"epochs": 300}, ("budget: 300 epochs", "its epochs are shared: coarse 60, medium 90, fine 150")),
        ({"hours": 1.0}, ("as many trials as 1 hour allows", "as many epochs as the budget allows", "at most 288 in")),
        (
            {"n_trials": 40},
            ("as many trials as 40 trials allow", "its trials are shared: coarse 13, medium 7, fine 20"),
        ),
    ],
)
def test_the_plan_of_an_open_stage_says_what_bounds_it(
    definition: StudyDefinition, budget: dict[str, float], expected: tuple[str, ...]
) -> None:
    text = " ".join(text_of(plan_report(opened(definition, **budget))).split())
    assert all(words in text for words in expected), text
    assert "fine open 24 the rest" in text
    counted = " ".join(text_of(plan_report(replace(definition, budget=Budget(epochs=5000)))).split())
    assert "shared" not in counted and "at most 816 epochs in all" in counted


def test_a_study_without_a_number_of_trials_counts_only_what_is_done(record: StudyRecord) -> None:
    record = replace(record, definition=opened(record.definition, epochs=900))
    n_trained = sum(trial.record.n_trained for trial in record.trials)
    record = replace(record, spent=Spent(wall_seconds=60.0, worker_seconds=60.0, n_epochs=99, n_workers=1))
    plain = status_plain(record)
    assert plain["n_trials"] is None and plain["stages"][-1]["n_trials"] is None
    text = " ".join(text_of(status_report(record)).split())
    assert f"99 epochs, {n_trained} of them by trials of a budget of 900 epochs" in text
    assert "within the budget of 900 epochs" in text
    assert "None" not in text and "None" not in text_of(result_story(record, width=80))
    words = figures.stage_words(record.definition.stages[-1], record.definition.budget)
    assert words == "as many trials as 900 epochs allow, up to 24 epochs each, sampler tpe"
    summary = StudySummary(
        name="digits", state=record.state, n_finished=3, n_trials=None, best_reward=0.9, updated_ms=None
    )
    assert "None" not in text_of(studies_table([summary]))


def test_status_tells_what_was_spent_and_what_is_to_come(record: StudyRecord) -> None:
    assert "Spent" not in text_of(status_report(record))
    spent = Spent(wall_seconds=600.0, worker_seconds=1000.0, device_seconds=1000.0, n_epochs=20, n_workers=2)
    record = replace(record, spent=spent, definition=replace(record.definition, budget=Budget(hours=1.0)))
    text = " ".join(text_of(status_report(record)).split())
    assert "Spent: 10 min, 16 min 40 s of devices, 20 epochs of a budget of 1 hour" in text
    assert "Forecast for 2 workers: stage medium" in text and "the budget of 1 hour will leave out about" in text
    plain = status_plain(record)
    assert (plain["seconds"], plain["device_seconds"]) == (600.0, 1000.0)
    assert plain["seconds_left"] > 0.0
    assert status_plain(replace(record, finish_has_begun=True))["seconds_left"] is None

"""Which edits of a study file are taken once the study has begun."""

from __future__ import annotations

from typing import Any

import pytest

from search.study_definition import StudyDefinition
from search.study_edits import Begun, judge_edits
from search.study_file import definition_from_plain, with_overrides

PLAIN: dict[str, Any] = {
    "study": "s",
    "seed": 0,
    "model": {"class_path": "package.Net", "init_args": {"width": 8}},
    "data": {"class_path": "package.Data"},
    "objective": {"monitor": "val_acc", "direction": "maximize"},
    "space": {"model.learning_rate": {"log": [1.0e-6, 1.0]}},
    "stages": [
        {"name": "coarse", "n_trials": 20, "max_epochs": 2},
        {"name": "medium", "n_trials": 10, "max_epochs": 4},
        {"name": "fine", "n_trials": 6, "max_epochs": 8},
    ],
    "pruner": "median",
    "early_stopping": {"patience_epochs": 3},
    "finish": {"top_k": 2, "n_seeds": 2},
}
RECORDED: StudyDefinition = definition_from_plain(PLAIN)
IN_MEDIUM = Begun(first_numbers=(0, 20), n_trials=24, finish_has_begun=False, is_finished=False)
IN_FINE = Begun(first_numbers=(0, 20, 30), n_trials=33, finish_has_begun=False, is_finished=False)
IN_FINISH = Begun(first_numbers=(0, 20, 30), n_trials=36, finish_has_begun=True, is_finished=False)
WITHOUT_A_FINISH = Begun(first_numbers=(0, 20, 30), n_trials=36, finish_has_begun=False, is_finished=True)
FINISHED = Begun(first_numbers=(0, 20, 30), n_trials=36, finish_has_begun=True, is_finished=True)


def refusals(given: StudyDefinition, begun: Begun) -> list[str]:
    return [edit.refusal for edit in judge_edits(RECORDED, given, begun)]


def changed(**changes: Any) -> StudyDefinition:
    return definition_from_plain(PLAIN | changes)


def a_stage(name: str, n_trials: int = 5, max_epochs: int = 8) -> dict[str, Any]:
    return {"name": name, "n_trials": n_trials, "max_epochs": max_epochs}


@pytest.mark.parametrize("begun", [IN_MEDIUM, IN_FINE, IN_FINISH, FINISHED])
def test_nothing_changed_is_nothing_to_judge(begun: Begun) -> None:
    assert judge_edits(RECORDED, definition_from_plain(PLAIN), begun) == ()


@pytest.mark.parametrize(
    "override",
    [
        "stages.medium.n_trials=30",
        "stages.medium.n_trials=4",  # as many as it has begun
        "stages.medium.sampler=random",
        "stages.medium.promote=2",
        "stages.fine.n_trials=1",
        "stages.fine.promote=3",
        "stages.fine.sampler=random",
        "stages.fine.narrow=none",
        "stages.fine.name=finest",
        "budget.hours=2",
        "budget.n_trials=3",
        "budget.epochs=300",
        "pruner=none",
        "early_stopping.patience_epochs=9",
        "finish.n_seeds=5",
        "finish=none",
        "resources.trials_per_device=2",
    ],
)
def test_what_leaves_the_trials_comparable_is_taken(override: str) -> None:
    assert refusals(with_overrides(RECORDED, [override]), IN_MEDIUM) == [""]


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("seed=1", "follow from it"),
        ("model.init_args.width=16", "another model"),
        ("data.init_args.batch_size=9", "other data"),
        ("trainer.precision=bf16-mixed", "trained otherwise"),
        ("objective.gap_weight=0.5", "another objective"),
        ("schedule_horizon=stage", "other epochs"),
        ("space.model.learning_rate.log=[1.0e-4, 1.0]", "another space"),
        ("stages.coarse.n_trials=30", "stage coarse is over"),
        ("stages.coarse.n_trials=10", "stage coarse is over"),
        ("stages.coarse.sampler=random", "stage coarse is over"),
        ("stages.medium.n_trials=3", "has 4 trials already"),
        ("stages.medium.max_epochs=6", "compared at equal epochs"),
        ("stages.medium.narrow=none", "settled when it opened"),
        ("stages.medium.name=middle", "stage medium has begun"),
        ("stages.fine.max_epochs=20", "schedules span 8 epochs"),
    ],
)
def test_what_does_not_is_refused_with_the_reason(override: str, reason: str) -> None:
    found = refusals(with_overrides(RECORDED, [override]), IN_MEDIUM)
    assert found and all(reason in each for each in found)


def test_a_studys_rule_of_narrowing_may_change_before_it_has_been_applied() -> None:
    edited = with_overrides(RECORDED, ["narrow=none"])
    in_coarse = Begun(first_numbers=(0,), n_trials=4, finish_has_begun=False, is_finished=False)
    assert [each.refusal for each in judge_edits(RECORDED, edited, in_coarse)] == ["", "", ""]
    assert [bool(each.refusal) for each in judge_edits(RECORDED, edited, IN_MEDIUM)] == [False, True, False]


def test_stages_may_be_added_or_left_out_behind_the_open_one() -> None:
    coarse, medium, fine = PLAIN["stages"]
    assert refusals(changed(stages=[coarse, medium, fine, a_stage("finest")]), IN_FINE) == [""]
    assert refusals(changed(stages=[coarse, medium, a_stage("last"), fine]), IN_MEDIUM) == ["", "", ""]
    (reason,) = refusals(changed(stages=[coarse, medium, fine, a_stage("long", max_epochs=99)]), IN_FINE)
    assert "schedules span 8 epochs" in reason
    assert refusals(changed(stages=[coarse, medium]), IN_FINE) == ["stage fine has begun"]
    assert all(refusals(changed(stages=[medium, coarse, fine]), IN_FINE))


def test_a_stage_to_come_may_be_longer_where_each_stage_has_a_horizon_of_its_own() -> None:
    recorded = with_overrides(RECORDED, ["schedule_horizon=stage"])
    (edit,) = judge_edits(recorded, with_overrides(recorded, ["stages.fine.max_epochs=20"]), IN_MEDIUM)
    assert edit.refusal == ""
    assert edit.line == "stages.2.max_epochs: 8 -> 20"


@pytest.mark.parametrize("begun", [IN_MEDIUM, IN_FINE])
def test_a_last_stage_may_lose_its_number_of_trials_under_a_budget(begun: Begun) -> None:
    opened = with_overrides(RECORDED, ["stages.fine.n_trials=null", "budget.epochs=300"])
    assert refusals(opened, begun) == ["", ""]
    back = judge_edits(opened, with_overrides(opened, ["stages.fine.n_trials=2"]), IN_FINE)
    assert [(each.line, each.refusal) for each in back] == [
        ("stages.2.n_trials: none -> 2", "stage fine has 3 trials already")
    ]


@pytest.mark.parametrize("override", ["stages.fine.n_trials=9", "finish.n_seeds=5", "budget.hours=2", "pruner=none"])
@pytest.mark.parametrize(("begun", "reason"), [(IN_FINISH, "search is over"), (FINISHED, "study is finished")])
def test_once_the_search_is_over_it_stays_so(override: str, begun: Begun, reason: str) -> None:
    (found,) = refusals(with_overrides(RECORDED, [override]), begun)
    assert reason in found


@pytest.mark.parametrize("override", ["stages.fine.n_trials=9", "finish.n_seeds=5"])
def test_a_study_that_ended_without_a_finish_may_go_on(override: str) -> None:
    assert refusals(with_overrides(RECORDED, [override]), WITHOUT_A_FINISH) == [""]


@pytest.mark.parametrize("begun", [IN_FINISH, FINISHED])
def test_where_a_study_trains_is_never_part_of_what_it_is(begun: Begun) -> None:
    assert refusals(with_overrides(RECORDED, ["resources.trials_per_device=2"]), begun) == [""]

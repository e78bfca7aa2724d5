"""What a study file leaves out, once a newer version has another default for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from no_tracker import NoTracker
from plain_study import BELL
from study_runs import Listener
from virtual_engine import Faults, KilledError, VirtualEngine

from search.coordinator.edited_study import edits_of, kept_defaults
from search.coordinator.stores import default_storage
from search.engines import choice
from search.errors import StudyConflictError
from search.paths import StateDirectory
from search.pruner_settings import MedianSettings, NoPruning
from search.storage import StoredStudy, StudyStore
from search.studies_api import preview_study, resume_study, run_study
from search.study_definition import NarrowRule, SearchStage, StudyDefinition
from search.study_file import definition_from_plain, definition_to_plain, with_overrides, with_recorded_defaults
from search.study_record import StudyState

STAGES: list[dict[str, Any]] = [
    {"name": "coarse", "n_trials": 4, "max_epochs": 1},
    {"name": "fine", "n_trials": 3, "max_epochs": 2},
]
FILE: dict[str, Any] = {key: value for key, value in BELL.items() if key != "pruner"} | {"stages": STAGES}
"""It leaves out what the stages sample by, how they narrow, and what prunes."""
BOX = NarrowRule(rule="quantile_box")


def given(**changes: Any) -> StudyDefinition:
    return definition_from_plain({**FILE, **changes})


def begun_when(definition: StudyDefinition, *, stages: Sequence[dict[str, Any]], **defaults: Any) -> StudyDefinition:
    """The definition as a version with other defaults would have read it from the same file."""
    changed = tuple(replace(stage, **of_it) for stage, of_it in zip(definition.stages, stages, strict=True))
    return replace(definition, stages=changed, **defaults)


OTHER_DEFAULTS: dict[str, Any] = {
    "stages": ({"narrow": BOX}, {"narrow": BOX, "sampler": "random"}),
    "pruner": MedianSettings(n_startup_trials=9, n_warmup_epochs=9),
}


def stored(tmp_path: Path, definition: StudyDefinition) -> StoredStudy:
    return StudyStore(f"journal://{tmp_path / 'optuna.journal'}", create=True).create(definition, directory=tmp_path)


def reopened(tmp_path: Path, name: str = "bell") -> StoredStudy:
    return StudyStore(f"journal://{tmp_path / 'optuna.journal'}", create=False).open(name)


def lines(study: StoredStudy, definition: StudyDefinition) -> list[str]:
    return [each.line for each in edits_of(study, definition)]


# ---- what a file leaves out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "left_out", "given_keys"),
    [
        ({}, ["pruner", "stages.0.sampler", "stages.1.sampler", "stages.1.narrow", "finish"], ["seed", "stages"]),
        ({"pruner": "median"}, ["pruner.n_startup_trials"], ["pruner", "pruner.name"]),
        (
            {"pruner": {"name": "median", "n_startup_trials": 5}},
            ["pruner.n_warmup_epochs"],
            ["pruner.n_startup_trials"],
        ),
        ({"narrow": "none"}, ["stages.1.narrow.outside_share"], ["stages.1.narrow", "stages.1.narrow.rule"]),
        ({"early_stopping": "none"}, ["finish"], ["early_stopping"]),
        ({"end_early": "noise"}, ["end_early.probability"], ["end_early", "end_early.gain_below"]),
        ({"storage": None}, [], ["storage", "tracking_uri", "checkpoints"]),
        ({"stages": [STAGES[0], {**STAGES[1], "sampler": "tpe"}]}, ["stages.0.sampler"], ["stages.1.sampler"]),
        ({"stages": [STAGES[0], {**STAGES[1], "narrow": "none"}]}, ["stages.0.narrow"], ["stages.1.narrow"]),
    ],
)
def test_a_definition_knows_what_its_file_left_out(
    changes: dict[str, Any], left_out: list[str], given_keys: list[str]
) -> None:
    definition = given(**changes)
    assert definition.left_out.keys() >= set(left_out)
    assert not definition.left_out.keys() & set(given_keys)
    assert definition_from_plain(definition_to_plain(definition)) == definition


def test_a_storage_keeps_what_was_left_out(tmp_path: Path) -> None:
    stored(tmp_path, given())
    assert reopened(tmp_path).definition.left_out.keys() == given().left_out.keys()
    study = reopened(tmp_path)
    study.record_definition(given(pruner="median"), edits=["pruner"])
    assert reopened(tmp_path).definition.left_out.keys() == given(pruner="median").left_out.keys()


# ---- another default -------------------------------------------------------------------------------------------------


def test_an_unchanged_file_is_no_edit_under_other_defaults(tmp_path: Path) -> None:
    recorded = begun_when(given(), **OTHER_DEFAULTS)
    study = stored(tmp_path, recorded)
    assert lines(study, given()) == []
    told = kept_defaults(recorded, given())
    assert f"stages.1.sampler: random -> {given().stages[1].sampler}" in told and "pruner: {name: median" in told
    assert kept_defaults(given(), given()) == ""


def test_a_subordinate_entry_that_is_left_out_is_kept_too(tmp_path: Path) -> None:
    file = given(pruner="median")
    study = stored(tmp_path, replace(file, pruner=MedianSettings(n_startup_trials=99, n_warmup_epochs=1)))
    assert lines(study, file) == []
    assert lines(study, given(pruner={"name": "median", "n_startup_trials": 5})) == ["pruner.n_startup_trials: 99 -> 5"]
    assert with_recorded_defaults(given(pruner="percentile"), study.definition).pruner == (
        given(pruner="percentile").pruner
    ), "another rule has defaults of its own"


def test_what_the_file_once_said_and_leaves_out_now_is_an_edit(tmp_path: Path) -> None:
    study = stored(tmp_path, given(pruner="median", budget={"hours": 2.0}, early_stopping={"patience_epochs": 3}))
    assert [each.split(":")[0] for each in lines(study, given())] == ["pruner", "early_stopping", "budget"]


@pytest.mark.parametrize(
    ("began", "edited"),
    [
        ({"log": [1e-4, 1e-1]}, {"log": [1e-7, 1e-1]}),
        ({"log": [1e-4, 1e-1]}, {"linear": [1e-4, 1e-1]}),
        ({"choice": [1, 2]}, {"choice": [1, 2, 3]}),
    ],
)
def test_limits_that_the_file_leaves_out_follow_an_edited_range(
    tmp_path: Path, began: dict[str, Any], edited: dict[str, Any]
) -> None:
    before, now = (given(space={"model.learning_rate": each}) for each in (began, edited))
    study = stored(tmp_path, before)
    edits = edits_of(study, now)
    assert edits and all(each.refusal == "the recorded trials lie in another space" for each in edits)
    assert kept_defaults(before, now) == ""


def test_a_further_dimension_is_an_edit(tmp_path: Path) -> None:
    study = stored(tmp_path, begun_when(given(), **OTHER_DEFAULTS))
    further = given(space={**FILE["space"], "model.depth": {"int": [1, 3]}})
    assert [each.split(":")[0] for each in lines(study, further)] == ["space.model.depth"]


def test_what_the_file_says_now_is_an_edit(tmp_path: Path) -> None:
    study = stored(tmp_path, begun_when(given(), **OTHER_DEFAULTS))
    edited = given(pruner="asha", stages=[STAGES[0], {**STAGES[1], "sampler": "gp", "n_trials": 5}])
    assert [each.split(":")[0] for each in lines(study, edited)] == ["stages.1.n_trials", "stages.1.sampler", "pruner"]


def test_what_is_set_in_python_is_an_edit(tmp_path: Path) -> None:
    study = stored(tmp_path, given())
    coarse, fine = given().stages
    edited = replace(given(), pruner=OTHER_DEFAULTS["pruner"], stages=(coarse, replace(fine, sampler="random")))
    assert [each.split(":")[0] for each in lines(study, edited)] == ["stages.1.sampler", "pruner"]


def test_a_further_stage_has_the_defaults_of_now(tmp_path: Path) -> None:
    study = stored(tmp_path, begun_when(given(), **OTHER_DEFAULTS))
    longer = given(stages=[*STAGES, {"name": "last", "n_trials": 2, "max_epochs": 2}])
    assert len(lines(study, longer)) == 1
    kept = with_recorded_defaults(longer, study.definition)
    assert [stage.sampler for stage in kept.stages] == ["qmc", "random", given().stages[1].sampler]
    assert kept.stages[2].narrow == given().stages[1].narrow


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("pruner=asha", "pruner: "),
        ("pruner.n_startup_trials=1", "pruner.n_startup_trials: 9 -> 1"),
        ("stages.fine.sampler=gp", "stages.1.sampler: random -> gp"),
        ("stages.fine.n_trials=4", "stages.1.n_trials: 3 -> 4"),
        ("narrow=none", "stages.0.narrow: "),
    ],
)
def test_what_is_set_on_a_recorded_study_is_an_edit_and_stays(tmp_path: Path, override: str, line: str) -> None:
    study = stored(tmp_path, begun_when(given(), **OTHER_DEFAULTS))
    changed = with_overrides(study.definition, [override])
    first, *_ = found = lines(study, changed)
    assert first.startswith(line)
    study.record_definition(changed, edits=found)
    assert lines(reopened(tmp_path), with_overrides(reopened(tmp_path).definition, [])) == []
    key = override.split(".")[0].split("=")[0]
    back = lines(reopened(tmp_path), given())
    assert back and all(key in each for each in back), "the rest is left out as before"


def test_what_an_override_leaves_out_is_known_and_an_edited_file_leaves_out_what_it_did(tmp_path: Path) -> None:
    recorded = stored(tmp_path, begun_when(given(), **OTHER_DEFAULTS)).definition
    assert with_overrides(recorded, ["pruner=percentile"]).left_out.keys() >= {"pruner.percentile", "stages.1.narrow"}
    said = with_overrides(given(pruner="median"), ["pruner={name: percentile, n_startup_trials: 7}"])
    assert "pruner.n_startup_trials" not in said.left_out, "of the rule before it was left out"
    kept = with_recorded_defaults(given(early_stopping={"patience_epochs": 3}), recorded)
    assert kept.left_out.keys() == given(early_stopping={"patience_epochs": 3}).left_out.keys()


# ---- a store of an earlier version -----------------------------------------------------------------------------------

FORMER: dict[str, Any] = {
    **{key: value for key, value in FILE.items() if key not in ("space", "stages")},
    "model": {"class_path": "package.Net", "init_args": {}},
    "data": None,
    "trainer": {},
    "objective": {"monitor": "val_acc", "direction": "maximize", "gap_weight": 0.0, "gap_tolerance": 0.0},
    "schedule_horizon": "study",
    "space": {"model.learning_rate": {"log": [1e-6, 1.0], "limits": [1e-7, 10.0], "or_zero": 0.0, "when": {}}},
    "stages": [
        {**STAGES[0], "sampler": "qmc", "narrow": {"rule": "quantile_box"}},
        {**STAGES[1], "sampler": "tpe", "narrow": {"rule": "quantile_box"}},
    ],
    "pruner": {"name": "none", "n_startup_trials": 5, "n_warmup_epochs": 1},
    **dict.fromkeys(("early_stopping", "finish", "budget", "storage", "tracking_uri", "checkpoints")),
    "resources": {"devices_per_trial": 1, "trials_per_device": 1, "hang_timeout_minutes": 30.0},
}
"""What the first version stored of the file: its defaults, and nothing of what the file had left out."""


def as_stored_formerly(storage: str, plain: dict[str, Any]) -> None:
    raw = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(storage.removeprefix("journal://")))
    raw.set_study_user_attr(raw.get_study_id_from_name("bell"), "zeroin.definition", plain)


def test_the_file_of_an_earlier_versions_study_is_no_edit(tmp_path: Path) -> None:
    stored(tmp_path, given())
    as_stored_formerly(f"journal://{tmp_path / 'optuna.journal'}", FORMER)
    study = reopened(tmp_path)
    assert [stage.narrow for stage in study.definition.stages] == [BOX, BOX]
    assert lines(study, given()) == []
    assert lines(study, given(narrow="quantile_box", pruner="none")) == []
    assert [each.split(":")[0] for each in lines(study, given(narrow="none"))] == ["stages.0.narrow", "stages.1.narrow"]
    named = {**FORMER, "pruner": {"name": "median", "n_startup_trials": 5, "n_warmup_epochs": 1}}
    as_stored_formerly(f"journal://{tmp_path / 'optuna.journal'}", named)
    assert lines(reopened(tmp_path), given(pruner="median")) == []
    assert [each.split(":")[0] for each in lines(reopened(tmp_path), given())] == ["pruner"]


def test_a_file_that_names_the_rule_of_an_earlier_versions_study_keeps_its_probability(tmp_path: Path) -> None:
    stored(tmp_path, given())
    former = {"rule": "posterior", "probability": 0.8, "outside_share": 0.0}
    stages = [{**stage, "narrow": former} for stage in FORMER["stages"]]
    as_stored_formerly(f"journal://{tmp_path / 'optuna.journal'}", {**FORMER, "stages": stages})
    assert lines(reopened(tmp_path), given(narrow="posterior")) == lines(reopened(tmp_path), given()) == []
    edited = given(narrow={"rule": "posterior", "probability": 0.9})
    assert lines(reopened(tmp_path), edited) == [f"stages.{index}.narrow.probability: 0.8 -> 0.9" for index in (0, 1)]


def test_an_earlier_versions_study_goes_on_with_its_file_and_by_its_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.coordinator.session.MlflowTracker", NoTracker)
    state, where = StateDirectory(root=tmp_path / "state"), {"devices": "cpu:1"}
    faults, checkpoints = Faults(killed_after_polls=9), dict[str, int]()
    monkeypatch.setattr(choice, "LocalEngine", lambda slots: VirtualEngine(faults=faults, checkpoints=checkpoints))
    with pytest.raises(KilledError):
        run_study(given(), directory=state, **where)
    as_stored_formerly(default_storage(state), FORMER)
    faults.killed_after_polls = None
    preview = preview_study(given(), directory=state, **where)
    assert preview.edits == () and any("stays as the study began" in note for note in preview.inspection.notices)
    with pytest.raises(StudyConflictError, match="follow from it"):
        run_study(given(seed=4), directory=state, **where)
    listener = Listener()
    record = run_study(given(), directory=state, observer=listener, **where)
    assert record.state is StudyState.FINISHED
    fine: SearchStage = record.definition.stages[1]
    assert (fine.narrow, fine.sampler, record.definition.pruner) == (BOX, "tpe", NoPruning())
    assert [each for each in listener.notices if "stays as the study began" in each]
    assert not [each for each in listener.notices if "has changed:" in each]
    again = resume_study("bell", directory=state, edited=given(), **where)
    assert again.trials == record.trials

"""Overrides with ``--set``, and the differences between two definitions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_study import MINIMAL, digits, studies, study

from search.errors import StudyDefinitionError
from search.search_space import IntLogRange
from search.study_definition import NarrowRule, StudyDefinition
from search.study_file import definition_differences, definition_from_plain, with_overrides


def changed_lines(old: StudyDefinition, new: StudyDefinition) -> list[str]:
    return [each.line for each in definition_differences(old, new)]


# ---- --set -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("stages.0.n_trials=12", "stages.0.n_trials: 8 -> 12"),
        ("stages.coarse.n_trials=12", "stages.0.n_trials: 8 -> 12"),
        ("objective.gap_weight = 0.5", "objective.gap_weight: 0.0 -> 0.5"),
        ("space.model.dropout={log: [0.01, 0.5], or_zero: 0.1}", "space.model.dropout.log: [0.01, 0.8] -> [0.01, 0.5]"),
        ("space.model.dropout.or_zero=0", "space.model.dropout.or_zero: 0.1 -> 0.0"),
        ("space.model.learning_rate.log.0=1e-4", "space.model.learning_rate.log: [1e-05, 1.0] -> [0.0001, 1.0]"),
        (
            "space.model.momentum.when.model.optimizer=sgd",
            "space.model.momentum.when.model.optimizer: [sgd, nesterov] -> [sgd]",
        ),
        ("pruner.n_startup_trials=3", "pruner.n_startup_trials: 10 -> 3"),
        ("pruner=none", "pruner: {name: forecast, risk: 0.1, min_epochs: none, n_startup_trials: 10} -> {name: none}"),
        (
            "pruner.name=asha",
            "pruner: {name: forecast, risk: 0.1, min_epochs: none, n_startup_trials: 10} -> "
            "{name: asha, min_epochs: 1, reduction_factor: 3}",
        ),
        ("finish=none", "finish: {top_k: 3, n_seeds: 3, ensemble: true} -> none"),
        ("model.init_args.width=16", "model.init_args.width: (absent) -> 16"),
        ("model.init_args.net.width=16", "model.init_args.net: (absent) -> {width: 16}"),
        ("trainer.gradient_clip_val=1.0", "trainer.gradient_clip_val: (absent) -> 1.0"),
        ("storage=sqlite:///x.db?a=b", "storage: none -> sqlite:///x.db?a=b"),
        ("data=none", "data: {class_path: lightning_modules.DigitsDataModule, init_args: {batch_size: 64}} -> none"),
    ],
)
def test_one_override_makes_one_difference(override: str, line: str) -> None:
    assert changed_lines(digits(), digits(override)) == [line]
    assert changed_lines(digits(), with_overrides(digits(), [override])) == [line]


def test_an_override_adds_a_dimension_and_a_section() -> None:
    definition = digits(
        "space.model.width={int_log: [8, 64]}", "early_stopping=none", "early_stopping.patience_epochs=2"
    )
    assert definition.space["model.width"].range == IntLogRange(low=8, high=64)
    assert definition.early_stopping is not None
    assert definition.early_stopping.patience_epochs == 2


def test_the_last_override_wins() -> None:
    assert digits("seed=1", "seed=2").seed == 2
    assert (
        digits("finish.top_k=9", "finish={top_k: 1, n_seeds: 1}").finish
        == digits("finish={top_k: 1, n_seeds: 1}").finish
    )


def test_study_wide_narrowing_can_be_set_on_a_recorded_study() -> None:
    assert {stage.narrow.rule for stage in with_overrides(digits(), ["narrow=none"]).stages} == {"none"}
    by_model = with_overrides(digits(), ["narrow.rule=posterior", "narrow.probability=0.9"])
    assert {stage.narrow for stage in by_model.stages} == {NarrowRule(rule="posterior", probability=0.9)}
    wider = with_overrides(by_model, ["narrow.outside_share=0.1"])
    assert {(each.narrow.rule, each.narrow.outside_share) for each in wider.stages} == {("posterior", 0.1)}


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("stages.0.n_trails=8", "stages.0.n_trails", "Did you mean 'n_trials'?"),
        ("stage.0.n_trials=8", "stage", "Did you mean 'stages'?"),
        ("stages.corse.n_trials=8", "stages.corse", "Did you mean 'coarse'?"),
        ("stages.3.n_trials=8", "stages.3", "stages has 0, 1, 2, coarse, medium, fine"),
        ("space.model.droput.log=[0.1, 0.5]", "space.model.droput", "Did you mean 'model.dropout'?"),
        ("space.model.dropout.logg=[0.1, 0.5]", "space.model.dropout.logg", "Did you mean 'log'?"),
        ("seed.x=1", "seed.x", "seed has no keys of its own"),
        ("seed=[1", "seed", "must be valid YAML"),
        ("seed=-1", "seed", "an integer from 0"),
        ("seed", "", "expects key=value"),
        ("=1", "", "expects key=value"),
        ("space.model.dropout.log=[0.5, 0.1]", "space.model.dropout.log", "0 < low < high < inf"),
        ("objective={monitor: val_acc}", "objective.direction", "is required"),
        ("stages=[]", "stages", "a list of 1 to 100 entries"),
        (".=1", "", "no such key in a study"),
        ("seed=!!python/name:os.system", "seed", "remove the tag"),
    ],
)
def test_a_wrong_override_is_told_as_such(override: str, key: str, expected: str) -> None:
    with pytest.raises(StudyDefinitionError) as caught:
        digits(override)
    error = caught.value
    assert error.key == key
    assert error.line is None, "no line of the file is to blame"
    assert "--set" in str(error)
    assert override in str(error)
    assert expected in str(error)


@pytest.mark.slow
@settings(max_examples=40)
@given(st.text(max_size=20), st.text(max_size=20))
def test_no_override_crashes(key: str, value: str) -> None:
    for text in (f"{key}={value}", f"stages.0.n_trials={value}", f"space.{key}={value}", f"finish.{key}={value}"):
        try:
            digits(text)
        except StudyDefinitionError as error:
            assert "--set" in str(error)


# ---- differences -----------------------------------------------------------------------------------------------------


def test_differences_of_stages_and_dimensions_added_and_removed() -> None:
    assert changed_lines(digits(), digits()) == []
    longer = study(stages=[*MINIMAL["stages"], {"name": "last", "n_trials": 1, "max_epochs": 9}])
    (line,) = changed_lines(study(), longer)
    assert line.startswith("stages.2: (absent) -> {name: last, n_trials: 1, max_epochs: 9")
    other = study(space={"model.depth": {"int": [1, 2]}})
    assert [line.split(" -> ")[1][:8] for line in changed_lines(study(), other)] == ["(absent)", "{int: [1"]


def test_a_changed_order_of_the_space_is_a_difference() -> None:
    forth = study(space={"model.a": {"int": [1, 2]}, "model.b": {"int": [1, 2]}})
    back = study(space={"model.b": {"int": [1, 2]}, "model.a": {"int": [1, 2]}})
    assert changed_lines(forth, back) == ["space: order model.a, model.b -> order model.b, model.a"]


@pytest.mark.slow
@settings(max_examples=50)
@given(studies(), studies())
def test_there_are_no_differences_just_when_definitions_are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = definition_from_plain(one), definition_from_plain(other)
    assert changed_lines(first, first) == []
    assert bool(changed_lines(first, second)) or first == second

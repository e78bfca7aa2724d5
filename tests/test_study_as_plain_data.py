"""Definitions to plain data and YAML and back, and definitions built in Python."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from plain_study import digits, studies, study

from search.errors import StudyDefinitionError
from search.search_space import Choices, LinearRange, SearchSpace
from search.study_definition import Direction
from search.study_file import (
    definition_from_plain,
    definition_to_plain,
    definition_to_yaml,
    dimension_to_plain,
    load_study_file,
    space_from_plain,
    space_to_plain,
)

# ---- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=80)
@given(studies())
def test_plain_data_and_yaml_give_the_same_definition_back(plain: dict[str, Any]) -> None:
    before = copy.deepcopy(plain)
    definition = definition_from_plain(plain)
    assert plain == before, "the given data are not touched"
    again = definition_to_plain(definition)
    assert definition_from_plain(again) == definition
    assert definition_to_plain(definition_from_plain(again)) == again


@pytest.mark.slow
@settings(max_examples=60)
@given(plain=studies())
def test_the_yaml_text_gives_the_same_definition_back(tmp_path_factory: pytest.TempPathFactory, plain: Any) -> None:
    definition = definition_from_plain(plain)
    path = tmp_path_factory.getbasetemp() / "again.yaml"
    path.write_text(definition_to_yaml(definition), encoding="utf-8")
    loaded = load_study_file(path)
    assert loaded == definition
    assert repr(loaded) == repr(definition), "1, 1.0 and true are told apart"


def test_narrowed_spaces_come_back_as_they_are() -> None:
    declared = digits().space
    box = []
    for each in declared:
        if isinstance(each.range, Choices):
            box.append(replace(each, range=Choices(values=each.range.values[1:])))
        else:
            low, high = each.range.scale(each.range.low), each.range.scale(each.range.high)
            narrowed = each.range.with_bounds(each.range.unscale(low + 0.3 * (high - low)), each.range.high)
            box.append(replace(each, range=narrowed, zero_share=0.05 if each.zero_share else 0.0))
    space = SearchSpace(dimensions=tuple(box))
    assert space != declared
    assert space_from_plain(space_to_plain(space)) == space
    assert dimension_to_plain(space["model.optimizer"]) == {
        "choice": ["nesterov", "adamw"],
        "limits": ["sgd", "nesterov", "adamw"],
        "when": {},
    }


def test_a_broken_stored_space_is_an_error() -> None:
    with pytest.raises(StudyDefinitionError, match=r"space\.model\.x\.logg: the key 'logg'"):
        space_from_plain({"model.x": {"logg": [1, 2]}})
    with pytest.raises(StudyDefinitionError, match=r"space\.model\.x\.log: .* must hold"):
        space_from_plain({"model.x": {"log": [2, 1]}})


def test_no_definition_shares_data_with_what_it_was_made_from() -> None:
    layers = [1, 2]
    definition = study(model={"class_path": "a.B", "init_args": {"layers": layers}})
    layers.append(3)
    definition_to_plain(definition)["model"]["init_args"]["layers"].append(4)
    assert definition.model.init_args == {"layers": [1, 2]}


# ---- built in Python -------------------------------------------------------------------------------------------------


def test_python_values_count_as_their_plain_counterparts(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    definition = study(
        seed=numpy.int64(5),
        model={"class_path": yaml.SafeLoader, "init_args": {"folder": tmp_path, "rate": numpy.float32(0.5)}},
        objective={"monitor": "val_loss", "direction": Direction.MINIMIZE},
        space={"model.x": {"log": (numpy.float64(0.1), 1)}, "model.y": {"linear": [Fraction(1, 2), 1]}},
        stages=({"name": "only", "n_trials": 3, "max_epochs": 1},),
    )
    assert definition.seed == 5
    assert definition.model.class_path == "yaml.loader.SafeLoader"
    assert definition.model.init_args == {"folder": str(tmp_path), "rate": 0.5}
    assert type(definition.model.init_args["rate"]) is float
    assert definition.space["model.y"].range == LinearRange(low=0.5, high=1.0)


recursive: dict[str, Any] = {}
recursive["again"] = recursive


@pytest.mark.parametrize(
    ("changes", "key", "expected"),
    [
        ({"seed": -1}, "seed", "an integer from 0"),
        ({"trainer": {"x": object()}}, "trainer.x", "plain data"),
        ({"trainer": {1: 2}}, "trainer", "keys must be strings, but got 1"),
        ({"trainer": {"x": math.nan}}, "trainer.x", "nan"),
        ({"trainer": {"x": "\ud800"}}, "trainer.x", "valid Unicode"),
        ({"trainer": recursive}, "trainer.again", "40 levels"),
        ({"trainer": {"x": list(range(10_001))}}, "trainer.x", "10000 entries"),
        ({"space": {"data.x": {"int": [1, 2]}}}, "space.data.x", "no `data:`"),
        ({"space": {"model.x": {"choice": [True, 1]}}}, "space.model.x.choice", "distinct"),
        ({"space": {"model.x": {"linear": [0, 10**400]}}}, "space.model.x.linear.1", "a finite number"),
        ({"space": {"model.x": {"log": [1, 2], "limits": [1, 10**400]}}}, "space.model.x.limits", "64-bit float"),
        ({"space": {"model.x": {"choice": ["a"], "limits": ["b"]}}}, "space.model.x.limits", "not among the limits"),
        ({"seed": 10**5000}, "seed", "a huge int"),
        ({"model": {"class_path": "my.class"}}, "model.class_path", "an import path"),
    ],
)
def test_mistakes_in_python_name_the_key_and_no_file(changes: dict[str, Any], key: str, expected: str) -> None:
    with pytest.raises(StudyDefinitionError) as caught:
        study(**changes)
    error = caught.value
    assert error.key.startswith(key)
    assert (error.file, error.line) == (None, None)
    assert expected in str(error)


def test_a_circle_of_conditions_is_shown_as_one() -> None:
    space = {
        "model.last": {"int": [1, 2], "when": {"model.a": 1}},
        "model.a": {"choice": [1, 2], "when": {"model.b": 1}},
        "model.b": {"choice": [1, 2], "when": {"model.a": 1}},
    }
    with pytest.raises(StudyDefinitionError, match=r"got model\.a -> model\.b -> model\.a\.") as caught:
        study(space=space)
    assert caught.value.key == "space.model.a.when"


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(StudyDefinitionError, match="must be a mapping of keys, but got list"):
        definition_from_plain([])  # type: ignore[arg-type]

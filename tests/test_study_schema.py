from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from search.study_definition import Direction, ScheduleHorizon
from search.study_file import (
    built_in_studies,
    definition_from_plain,
    definition_to_plain,
    load_study_file,
    starter_study,
    study_json_schema,
)

SCHEMA = study_json_schema()
_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def faults(value: Any, node: dict[str, Any], at: str = "") -> Iterator[str]:
    """A validator for the part of JSON Schema that the study's schema uses; fails on a keyword it does not know."""
    known = {"$schema", "$defs", "title", "description", "default", "examples", "type", "properties", "required"}
    known |= {"additionalProperties", "items", "enum", "const", "anyOf", "oneOf", "$ref", "minLength", "minProperties"}
    known |= {"minItems", "maxItems", "minimum", "maximum", "exclusiveMaximum", "exclusiveMinimum"}
    assert node.keys() <= known, node.keys() - known
    if "$ref" in node:
        yield from faults(value, SCHEMA["$defs"][node["$ref"].removeprefix("#/$defs/")], at)
    if "anyOf" in node and all(list(faults(value, each, at)) for each in node["anyOf"]):
        yield f"{at}: no alternative fits"
    if "oneOf" in node and sum(not list(faults(value, each, at)) for each in node["oneOf"]) != 1:
        yield f"{at}: not exactly one"
    types = node.get("type", [])
    if types and not any(_is(value, name) for name in ([types] if isinstance(types, str) else types)):
        yield f"{at}: not a {types}"
        return
    if ("enum" in node and value not in node["enum"]) or ("const" in node and value != node["const"]):
        yield f"{at}: not an allowed value"
    if isinstance(value, dict):
        yield from mapping_faults(value, node, at)
    elif isinstance(value, list):
        if not node.get("minItems", 0) <= len(value) <= node.get("maxItems", len(value)):
            yield f"{at}: length"
        for index, item in enumerate(value):
            yield from faults(item, node.get("items", {}), f"{at}.{index}")
    elif isinstance(value, str):
        if len(value) < node.get("minLength", 0):
            yield f"{at}: too short"
    elif isinstance(value, int | float) and not (
        node.get("minimum", value) <= value <= node.get("maximum", value)
        and node.get("exclusiveMinimum", value - 1) < value < node.get("exclusiveMaximum", value + 1)
    ):
        yield f"{at}: out of bounds"


def mapping_faults(value: dict[str, Any], node: dict[str, Any], at: str) -> Iterator[str]:
    yield from (f"{at}: lacks {key}" for key in node.get("required", ()) if key not in value)
    if len(value) < node.get("minProperties", 0):
        yield f"{at}: too few"
    for key, item in value.items():
        below = node.get("properties", {}).get(key, node.get("additionalProperties", {}))
        if below is False:
            yield f"{at}.{key}: unknown"
        elif isinstance(below, dict):
            yield from faults(item, below, f"{at}.{key}")


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "properties" in node:
            yield node
        for each in node.values():
            yield from objects(each)
    elif isinstance(node, list):
        for each in node:
            yield from objects(each)


def digits() -> dict[str, Any]:
    plain: dict[str, Any] = yaml.safe_load(built_in_studies()["digits"].read_text())
    return plain


def test_the_schema_is_json_and_says_which_draft() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_accepts_the_shipped_studies_the_starter_and_the_canonical_form() -> None:
    for path in built_in_studies().values():
        assert list(faults(yaml.safe_load(path.read_text()), SCHEMA)) == []
        assert list(faults(definition_to_plain(load_study_file(path)), SCHEMA)) == []
    assert list(faults(yaml.safe_load(starter_study("mine")), SCHEMA)) == []


def test_the_schema_accepts_every_shorthand() -> None:
    plain = {**digits(), "pruner": {"name": "median"}, "narrow": "none", "finish": "none", "early_stopping": None}
    plain["space"]["model.momentum"]["when"] = {"model.optimizer": "sgd"}
    plain["stages"][1]["narrow"] = {"rule": "none"}
    plain["space"]["model.learning_rate"]["prior"] = {"mean": 1e-3, "decades": 1}
    plain["space"]["model.init_scheme"]["prior"] = {"he": 0.6}
    past = ["old", {"study": "older", "storage": "sqlite:///old.db"}, {"experiment": "runs"}]
    plain["warm_start"] = {
        "configurations": [{"model.learning_rate": 1e-3, "model.init_scheme": "he"}],
        "studies": past,
    }
    assert list(faults(plain, SCHEMA)) == []
    definition_from_plain(plain)


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "red"},
        {"seed": "0"},
        {"seed": -1},
        {"model": {}},
        {"objective": {"monitor": "a", "direction": "up"}},
        {"space": {}},
        {"space": {"model.x": {"log": [1]}}},
        {"space": {"model.x": {"log": [1, 2], "linear": [1, 2]}}},
        {"space": {"model.x": {"limits": [1, 2]}}},
        {"space": {"model.x": {"log": [1, 2], "or_zero": 1}}},
        {"space": {"model.x": {"choice": [[1]]}}},
        {"stages": []},
        {"stages": [{"name": "a", "n_trials": 0, "max_epochs": 1}]},
        {"stages": [{"name": "a", "n_trials": 1, "max_epochs": 1, "sampler": "tep"}]},
        {"pruner": "medain"},
        {"pruner": {"name": "asha", "n_startup_trials": 5}},
        {"pruner": {"name": "wilcoxon", "p_threshold": 2}},
        {"pruner": {"min_epochs": 2}},
        {"finish": {"top_k": 1}},
        {"space": {"model.x": {"log": [1, 2], "prior": {"mean": "1"}}}},
        {"space": {"model.x": {"log": [1, 2], "prior": {}}}},
        {"warm_start": {"configurations": [{}]}},
        {"warm_start": {"configurations": [{"model.dropout": [0.1]}]}},
        {"warm_start": {"studies": [{"stdy": "old"}]}},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(changes: dict[str, Any]) -> None:
    plain = {**digits(), **changes}
    assert list(faults(plain, SCHEMA))
    with pytest.raises(Exception, match=r"must|unknown|required"):
        definition_from_plain(plain)


def test_every_key_has_a_description_that_is_a_sentence_on_one_line() -> None:
    found = list(objects(SCHEMA))
    assert len(found) == len(SCHEMA["$defs"]) + 1
    for node in found:
        assert node["additionalProperties"] is False
        for key, entry in node["properties"].items():
            description = entry.get("description", "")
            assert len(description) > 10, key
            assert "\n" not in description
            assert "``" not in description


def test_the_words_are_those_of_the_definition() -> None:
    objective = SCHEMA["$defs"]["ObjectiveSection"]["properties"]
    assert objective["direction"]["enum"] == list(Direction)
    assert SCHEMA["properties"]["schedule_horizon"]["enum"] == list(ScheduleHorizon)


def test_every_key_of_the_canonical_form_is_in_the_schema() -> None:
    plain = definition_to_plain(load_study_file(built_in_studies()["digits"]))
    assert plain.keys() | {"narrow", "objectives", "constraints"} == SCHEMA["properties"].keys()

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import StudyDefinitionError
from search.search_space import (
    Choices,
    Condition,
    Dimension,
    IntLogRange,
    IntRange,
    LinearRange,
    LogRange,
    OneMinusLogRange,
    SearchSpace,
)
from search.study_definition import Direction, ScheduleHorizon, StudyDefinition
from search.study_file import (
    built_in_studies,
    definition_differences,
    definition_from_plain,
    definition_to_plain,
    definition_to_yaml,
    dimension_to_plain,
    error_in_file,
    load_study_file,
    space_from_plain,
    space_to_plain,
    starter_study,
    with_overrides,
)

MINIMAL: dict[str, Any] = {
    "study": "small",
    "seed": 3,
    "model": {"class_path": "my_package.Net"},
    "objective": {"monitor": "val_loss", "direction": "minimize"},
    "space": {"model.width": {"int_log": [8, 64]}},
    "stages": [{"name": "coarse", "n_trials": 8, "max_epochs": 1}, {"name": "fine", "n_trials": 4, "max_epochs": 3}],
}


def study(**changes: Any) -> StudyDefinition:
    return definition_from_plain({**MINIMAL, **changes})


def digits(*overrides: str) -> StudyDefinition:
    return load_study_file(built_in_studies()["digits"], overrides=overrides)


def changed_lines(old: StudyDefinition, new: StudyDefinition) -> list[str]:
    return [each.line for each in definition_differences(old, new)]


def dimension(name: str, **entry: Any) -> Dimension:
    return study(space={name: entry}, data={"class_path": "my_package.Data"}).space[name]


# ---- the shipped files -----------------------------------------------------------------------------------------------


def test_digits_is_the_study_that_the_readme_describes() -> None:
    definition = digits()
    assert definition.study == "digits"
    assert [(each.name, each.n_trials, each.max_epochs, each.sampler) for each in definition.stages] == [
        ("coarse", 48, 2, "qmc"),
        ("medium", 24, 6, "tpe"),
        ("fine", 12, 24, "tpe"),
    ]
    assert set(definition.model.init_args) == {"in_channels", "n_classes"}
    assert definition.objective.direction is Direction.MAXIMIZE
    assert definition.space["model.dropout"].zero_share == 0.1
    assert definition.space["model.momentum"].conditions == (
        Condition(name="model.optimizer", values=("sgd", "nesterov")),
    )
    assert definition.finish is not None
    assert (definition.finish.top_k, definition.finish.n_seeds, definition.finish.ensemble) == (3, 3, True)
    assert {stage.narrow.rule for stage in definition.stages} == {"quantile_box"}


@pytest.mark.parametrize("name", ["mine", "my-net_2.1", "007", "true", "null", "1e5", "0x1f", "x" * 100])
def test_the_starter_is_valid_and_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "starter.yaml"
    path.write_text(starter_study(name))
    assert load_study_file(path).study == name
    assert max(len(line) for line in path.read_text().splitlines() if name not in line) <= 120


def test_the_starter_explains_every_key_that_it_has() -> None:
    text = starter_study("mine", schema="zeroin.schema.json")
    assert text.startswith("# yaml-language-server: $schema=zeroin.schema.json\n")
    for key in yaml.safe_load(text):
        at = next(index for index, line in enumerate(text.splitlines()) if line.startswith(f"{key}:"))
        here, before = text.splitlines()[at], text.splitlines()[:at]
        block = before[::-1]
        assert "#" in here or key in ("trainer", "space", "resources") or block[0].startswith("#"), key
    assert "yaml-language-server" not in starter_study("mine")


# ---- defaults: what the file leaves out does not happen --------------------------------------------------------------


def test_defaults_of_a_minimal_study() -> None:
    definition = study()
    assert definition.data is None
    assert definition.trainer == {}
    assert definition.early_stopping is None
    assert definition.finish is None
    assert definition.pruner.name == "none"
    assert definition.schedule_horizon is ScheduleHorizon.STUDY
    assert (definition.storage, definition.tracking_uri) == (None, None)
    assert (definition.objective.gap_weight, definition.objective.gap_tolerance) == (0.0, 0.0)
    assert [stage.sampler for stage in definition.stages] == ["qmc", "tpe"]


def test_none_in_words_is_none() -> None:
    definition = study(early_stopping="none", finish="none", data="none", pruner="none", narrow="none")
    assert (definition.early_stopping, definition.finish, definition.data) == (None, None, None)
    assert [stage.narrow.rule for stage in definition.stages] == ["none", "none"]


def test_a_stage_may_have_its_own_narrowing() -> None:
    stages = [MINIMAL["stages"][0], {**MINIMAL["stages"][1], "narrow": {"rule": "none"}}]
    assert [stage.narrow.rule for stage in study(stages=stages).stages] == ["quantile_box", "none"]


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "cmaes", "gp"])
def test_a_single_stage_may_use_any_sampler(sampler: str) -> None:
    assert study(stages=[{**MINIMAL["stages"][0], "sampler": sampler}]).stages[0].sampler == sampler


def test_a_pruner_by_name_or_as_a_mapping() -> None:
    by_name = study(pruner="median").pruner
    assert by_name == study(pruner={"name": "median"}).pruner
    assert study(pruner={"name": "median", "n_warmup_epochs": 4}).pruner == replace(by_name, n_warmup_epochs=4)


# ---- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "entry", "limits"),
    [
        ("model.learning_rate", {"log": [1e-5, 1.0]}, LogRange(low=1e-6, high=10.0)),
        ("model.lr_decay", {"log": [1e-4, 1.0]}, LogRange(low=1e-5, high=1.0)),
        ("model.dropout", {"log": [0.01, 0.8]}, LogRange(low=0.001, high=0.95)),
        ("model.drop_path_rate", {"log": [0.01, 0.2]}, LogRange(low=0.001, high=0.95)),
        ("model.head.dropout", {"log": [0.01, 0.05]}, LogRange(low=0.001, high=0.5)),
        ("model.warmup_fraction", {"log": [0.01, 0.5]}, LogRange(low=0.001, high=1.0)),
        ("model.expansion_ratio", {"log": [1.0, 6.0]}, LogRange(low=0.1, high=6.0)),
        ("model.momentum", {"one_minus_log": [0.5, 0.999]}, OneMinusLogRange(low=0.0, high=0.9999)),
        ("model.beta2", {"one_minus_log": [0.95, 0.999]}, OneMinusLogRange(low=0.5, high=0.9999)),
        ("data.batch_size", {"int_log": [16, 256]}, IntLogRange(low=1, high=2560)),
        ("model.depth", {"int": [2, 6]}, IntRange(low=2, high=6)),
        ("model.dropout", {"linear": [0.0, 0.5]}, LinearRange(low=0.0, high=0.5)),
        ("model.optimizer", {"choice": ["sgd", "adam"]}, Choices(values=("sgd", "adam"))),
    ],
)
def test_default_limits(name: str, entry: dict[str, Any], limits: object) -> None:
    assert dimension(name, **entry).limits == limits


def test_written_limits_win_over_the_rule_of_names() -> None:
    assert dimension("model.dropout", log=[0.01, 0.8], limits=[0.01, 0.99]).limits == LogRange(low=0.01, high=0.99)
    wide = dimension("model.optimizer", choice=["sgd"], limits=["sgd", "adam"])
    assert wide.limits == Choices(values=("sgd", "adam"))


log_bounds = st.tuples(
    st.floats(5e-324, 1.7e308, allow_subnormal=True), st.floats(5e-324, 1.7e308, allow_subnormal=True)
)


@settings(deadline=None)
@given(log_bounds, st.sampled_from(["model.x", "model.dropout", "model.momentum", "model.ratio"]))
def test_default_limits_of_a_log_range_contain_it_and_reach_a_decade_at_most(
    bounds: tuple[float, float], name: str
) -> None:
    low, high = sorted(bounds)
    if not low < high:
        return
    limits = dimension(name, log=[low, high]).limits
    assert isinstance(limits, LogRange)
    assert limits.low <= low < high <= limits.high
    if low > 1e-300 and high < 1e300:
        assert math.log10(low / limits.low) <= 1 + 1e-9
        assert math.log10(limits.high / high) <= 1 + 1e-9


@settings(deadline=None)
@given(st.floats(0.0, 1.0, exclude_max=True), st.floats(0.0, 1.0, exclude_max=True))
def test_default_limits_of_a_one_minus_log_range_contain_it_and_stay_below_one(first: float, second: float) -> None:
    low, high = sorted((first, second))
    if low < high:
        limits = dimension("model.x", one_minus_log=[low, high]).limits
        assert isinstance(limits, OneMinusLogRange)
        assert 0.0 <= limits.low <= low < high <= limits.high < 1.0


# ---- there and back --------------------------------------------------------------------------------------------------

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
scalars = (
    st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.text(max_size=6)
    | st.sampled_from(
        ["on", "no", "1e5", "1e-5", "0x1", "010", "1_0", "12:30", "2020-01-01", "null", "~", "", "<<", "="]
    )
)
constants = st.recursive(
    scalars | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def pair(low: float, high: float) -> st.SearchStrategy[list[float]]:
    bounds = st.floats(low, high, allow_subnormal=False)
    return st.tuples(bounds, bounds).map(sorted).filter(lambda both: both[0] < both[1])


def int_pair(low: int) -> st.SearchStrategy[list[int]]:
    bounds = st.integers(low, 10**9)
    return st.tuples(bounds, bounds).map(sorted).filter(lambda both: both[0] < both[1])


numeric_entries = st.one_of(
    st.fixed_dictionaries({"log": pair(1e-12, 1e12)}, optional={"or_zero": st.floats(0, 0.99)}),
    st.fixed_dictionaries({"linear": pair(-1e6, 1e6)}, optional={"or_zero": st.floats(0, 0.99)}),
    st.fixed_dictionaries({"one_minus_log": pair(0.0, 0.99999)}, optional={"or_zero": st.floats(0, 0.99)}),
    st.fixed_dictionaries({"int": int_pair(-100)}),
    st.fixed_dictionaries({"int_log": int_pair(1)}),
)
choices = st.lists(scalars, min_size=1, max_size=4, unique_by=lambda value: (hash(value), value))


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    kinds = draw(choices)
    space: dict[str, Any] = {"model.kind": {"choice": kinds}}
    for name in draw(st.lists(names.filter(lambda name: name != "kind"), unique=True, max_size=4)):
        entry = dict(draw(numeric_entries))
        if draw(st.booleans()):
            entry["when"] = {"model.kind": draw(st.sampled_from(kinds))}
        space[f"model.{name}"] = entry
    if draw(st.booleans()):
        space = dict(reversed(space.items()))
    stage_names = draw(st.lists(names.filter(lambda n: n not in ("confirm", "refit", "test")), min_size=1, unique=True))
    return {
        **MINIMAL,
        "seed": draw(st.integers(0, 2**32 - 1)),
        "model": {"class_path": "a.B", "init_args": {"constants_": draw(constants)}},
        "data": draw(st.none() | st.just({"class_path": "a.C", "init_args": {"folder": draw(constants)}})),
        "trainer": {"precision": draw(constants)},
        "space": space,
        "stages": [
            {"name": name, "n_trials": draw(st.integers(1, 99)), "max_epochs": 2, "narrow": "none"}
            for name in stage_names
        ],
        "pruner": draw(st.sampled_from(["median", "none", {"name": "median", "n_startup_trials": 0}])),
        "early_stopping": draw(st.sampled_from(["none", None, {"patience_epochs": 2, "min_delta": 0.5}])),
        "finish": draw(st.sampled_from(["none", None, {"top_k": 1, "n_seeds": 2}])),
        "storage": draw(st.none() | st.just("sqlite:///a.db")),
    }


@settings(deadline=None, max_examples=80)
@given(studies())
def test_plain_data_and_yaml_give_the_same_definition_back(plain: dict[str, Any]) -> None:
    before = copy.deepcopy(plain)
    definition = definition_from_plain(plain)
    assert plain == before, "the given data are not touched"
    again = definition_to_plain(definition)
    assert definition_from_plain(again) == definition
    assert definition_to_plain(definition_from_plain(again)) == again


@settings(deadline=None, max_examples=60)
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


# ---- YAML ------------------------------------------------------------------------------------------------------------


def loaded_space(tmp_path: Path, space: str, *, head: str = "") -> Mapping[str, Dimension]:
    rest = {key: value for key, value in MINIMAL.items() if key != "space"}
    (tmp_path / "study.yaml").write_text(f"{head}\nspace:\n{space}\n{yaml.safe_dump(rest)}")
    return {each.name: each for each in load_study_file(tmp_path / "study.yaml").space}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("+7", 7),
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("true", True),
        ("FALSE", False),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        ("nan", "nan"),
    ],
)
def test_scalars_are_read_as_yaml_1_2_has_them(tmp_path: Path, text: str, value: object) -> None:
    read = loaded_space(tmp_path, f"  model.x: {{choice: [{text}]}}")["model.x"].range
    assert isinstance(read, Choices)
    assert read.values == (value,)
    assert type(read.values[0]) is type(value)


def test_anchors_aliases_and_merge_keys_work(tmp_path: Path) -> None:
    space = """\
  model.a: &wide {log: [1e-3, 1], limits: [1e-4, 10]}
  model.b: *wide
  model.c: {<<: *wide, limits: [1e-5, 100], or_zero: 0.5}
  model.d: {<<: [*wide, {or_zero: 0.25}]}"""
    read = loaded_space(tmp_path, space)
    assert replace(read["model.a"], name="model.b") == read["model.b"]
    assert read["model.c"].limits == LogRange(low=1e-5, high=100.0)
    assert (read["model.c"].zero_share, read["model.d"].zero_share) == (0.5, 0.25)


def test_a_condition_may_stand_before_its_choice(tmp_path: Path) -> None:
    space = "  model.m: {log: [0.1, 1], when: {model.o: a}}\n  model.z: {int: [1, 2]}\n  model.o: {choice: [a, b]}"
    assert list(loaded_space(tmp_path, space)) == ["model.z", "model.o", "model.m"]


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + starter_study("mine").replace("\n", "\r\n").encode())
    assert load_study_file(path).study == "mine"


# ---- --set -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("stages.0.n_trials=8", "stages.0.n_trials: 48 -> 8"),
        ("stages.coarse.n_trials=8", "stages.0.n_trials: 48 -> 8"),
        ("objective.gap_weight = 0.5", "objective.gap_weight: 0.0 -> 0.5"),
        ("space.model.dropout={log: [0.01, 0.5], or_zero: 0.1}", "space.model.dropout.log: [0.01, 0.8] -> [0.01, 0.5]"),
        ("space.model.dropout.or_zero=0", "space.model.dropout.or_zero: 0.1 -> 0.0"),
        ("space.model.learning_rate.log.0=1e-4", "space.model.learning_rate.log: [1e-05, 1.0] -> [0.0001, 1.0]"),
        (
            "space.model.momentum.when.model.optimizer=sgd",
            "space.model.momentum.when.model.optimizer: [sgd, nesterov] -> [sgd]",
        ),
        ("pruner.n_warmup_epochs=3", "pruner.n_warmup_epochs: 1 -> 3"),
        ("pruner=none", "pruner.name: median -> none"),
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


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=20), st.text(max_size=20))
def test_no_override_crashes(key: str, value: str) -> None:
    for text in (f"{key}={value}", f"stages.0.n_trials={value}", f"space.{key}={value}", f"finish.{key}={value}"):
        try:
            digits(text)
        except StudyDefinitionError as error:
            assert "--set" in str(error)


# ---- differences, errors found later ---------------------------------------------------------------------------------


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


@settings(deadline=None, max_examples=50)
@given(studies(), studies())
def test_there_are_no_differences_just_when_definitions_are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = definition_from_plain(one), definition_from_plain(other)
    assert changed_lines(first, first) == []
    assert bool(changed_lines(first, second)) or first == second


def test_errors_found_after_loading_get_their_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(starter_study("mine"))
    lines = path.read_text().splitlines()
    for key, start in {
        "model.class_path": "  class_path: lightning_modules.ConvNet",
        "model.init_args.width": "  init_args: {in_channels",
        "space.model.dropout": "  model.dropout:",
        "space.model.dropout.log": "  model.dropout:",
        "objective.monitor": "objective:",
        "stages.1.n_trials": "  - {name: fine",
    }.items():
        error = error_in_file(path, key, "must be something else.")
        assert error.line is not None
        assert lines[error.line - 1].startswith(start), key
        assert str(error) == f"{path}:{error.line}: {key}: must be something else."
    path.unlink()
    assert str(error_in_file(path, "seed", "no.")) == f"{path}: seed: no."


def test_reading_a_study_imports_nothing_heavy() -> None:
    code = (
        "import sys; from search.study_file import built_in_studies, load_study_file;"
        "load_study_file(built_in_studies()['digits']);"
        "heavy = ('torch', 'pytorch_lightning', 'optuna', 'mlflow', 'numpy', 'pandas');"
        "sys.exit(str([name for name in heavy if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"

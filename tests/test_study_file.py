"""A study file read: what is shipped, what is left out, which limits follow, what YAML may hold."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from plain_study import MINIMAL, digits, study

from search.pruner_settings import (
    AshaSettings,
    HyperbandSettings,
    MedianSettings,
    NoPruning,
    PercentileSettings,
    PrunerSettings,
    WilcoxonSettings,
)
from search.search_space import (
    Choices,
    Condition,
    Dimension,
    IntLogRange,
    IntRange,
    LinearRange,
    LogRange,
    OneMinusLogRange,
)
from search.study_definition import Direction, Ensemble, NarrowRule, ScheduleHorizon
from search.study_file import (
    definition_from_plain,
    definition_to_plain,
    error_in_file,
    load_study_file,
    starter_study,
)
from search.study_file.schema import SAMPLER_NAMES

# ---- the shipped files -----------------------------------------------------------------------------------------------


def test_digits_is_the_study_that_the_readme_describes() -> None:
    definition = digits()
    assert definition.study == "digits"
    assert [(each.name, each.n_trials, each.max_epochs, each.sampler) for each in definition.stages] == [
        ("coarse", 8, 6, "qmc"),
        ("medium", 8, 24, "mixed"),
        ("fine", 16, 24, "mixed"),
    ]
    assert set(definition.model.init_args) == {"in_channels", "n_classes"}
    assert definition.objective.direction is Direction.MAXIMIZE
    assert definition.space["model.dropout"].zero_share == 0.1
    assert definition.space["model.momentum"].conditions == (
        Condition(name="model.optimizer", values=("sgd", "nesterov")),
    )
    assert definition.finish is not None
    assert (definition.finish.top_k, definition.finish.n_seeds, definition.finish.ensemble) == (3, 3, Ensemble.SEEDS)
    assert {stage.narrow.rule for stage in definition.stages} == {"posterior"}


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
        assert "#" in here or block[0].startswith("#"), key
    assert "yaml-language-server" not in starter_study("mine")


# ---- defaults --------------------------------------------------------------------------------------------------------


def test_defaults_of_a_minimal_study() -> None:
    definition = study()
    assert definition.data is None
    assert definition.trainer == {}
    assert definition.early_stopping is None
    assert definition.finish is None
    assert definition.pruner.name == "forecast"
    assert definition.schedule_horizon is ScheduleHorizon.STUDY
    assert (definition.storage, definition.tracking_uri) == (None, None)
    assert (definition.objective.gap_weight, definition.objective.gap_tolerance) == (0.0, 0.0)
    assert [stage.sampler for stage in definition.stages] == ["qmc", "mixed"]


def test_none_in_words_is_none() -> None:
    definition = study(early_stopping="none", finish="none", data="none", pruner="none", narrow="none")
    assert (definition.early_stopping, definition.finish, definition.data) == (None, None, None)
    assert [stage.narrow.rule for stage in definition.stages] == ["none", "none"]


def test_a_posterior_has_a_probability_that_survives_the_round_trip_and_goes_with_its_rule() -> None:
    stages = [MINIMAL["stages"][0], {**MINIMAL["stages"][1], "narrow": {"rule": "posterior", "probability": 0.9}}]
    definition = study(stages=stages, narrow="quantile_box")
    assert definition.stages[1].narrow.probability == 0.9
    plain = definition_to_plain(definition)
    assert definition_from_plain(plain) == definition
    assert "probability" not in plain["stages"][0]["narrow"]
    changed = definition_from_plain(plain, overrides=["stages.1.narrow.rule=trust_region"])
    assert changed.stages[1].narrow == NarrowRule(rule="trust_region")


def test_a_stage_may_have_its_own_narrowing() -> None:
    stages = [MINIMAL["stages"][0], {**MINIMAL["stages"][1], "narrow": {"rule": "none"}}]
    assert [stage.narrow.rule for stage in study(stages=stages).stages] == ["posterior", "none"]


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_a_single_stage_may_use_any_sampler(sampler: str) -> None:
    assert study(stages=[{**MINIMAL["stages"][0], "sampler": sampler}]).stages[0].sampler == sampler


def test_a_pruner_by_name_or_as_a_mapping() -> None:
    by_name = study(pruner="median").pruner
    assert by_name == study(pruner={"name": "median"}).pruner
    assert study(pruner={"name": "median", "n_warmup_epochs": 4}).pruner == replace(by_name, n_warmup_epochs=4)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("median", MedianSettings(n_startup_trials=5, n_warmup_epochs=1)),
        ("percentile", PercentileSettings(percentile=25.0, n_startup_trials=5, n_warmup_epochs=1)),
        ("asha", AshaSettings(min_epochs=1, reduction_factor=3)),
        ("hyperband", HyperbandSettings(min_epochs=1, reduction_factor=3)),
        ("wilcoxon", WilcoxonSettings(p_threshold=0.1, n_startup_epochs=2)),
        ("none", NoPruning()),
        ({"name": "asha", "min_epochs": 2, "reduction_factor": 4}, AshaSettings(min_epochs=2, reduction_factor=4)),
    ],
)
def test_every_pruner_has_its_own_keys_with_defaults(given: Any, expected: PrunerSettings) -> None:
    definition = study(pruner=given)
    assert definition.pruner == expected
    plain = definition_to_plain(definition)
    assert definition_from_plain(plain) == definition
    assert plain["pruner"].keys() == {"name", *(field.name for field in fields(expected))}


# ---- limits ----------------------------------------------------------------------------------------------------------


def dimension(name: str, **entry: Any) -> Dimension:
    return study(space={name: entry}, data={"class_path": "my_package.Data"}).space[name]


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
        ("model.n_steps", {"int_log": [1, 2**52]}, IntLogRange(low=1, high=2**53)),
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


@given(st.floats(0.0, 1.0, exclude_max=True), st.floats(0.0, 1.0, exclude_max=True))
def test_default_limits_of_a_one_minus_log_range_contain_it_and_stay_below_one(first: float, second: float) -> None:
    low, high = sorted((first, second))
    if low < high:
        limits = dimension("model.x", one_minus_log=[low, high]).limits
        assert isinstance(limits, OneMinusLogRange)
        assert 0.0 <= limits.low <= low < high <= limits.high < 1.0


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


# ---- errors found later, imports -------------------------------------------------------------------------------------


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
        "stages.1.n_trials": "  - {name: medium",
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

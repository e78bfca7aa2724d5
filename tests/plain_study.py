"""Studies as plain data: a minimal one, the shipped one, and any that hypothesis can think of."""

from __future__ import annotations

import functools
from typing import Any

from hypothesis import strategies as st

from search.study_definition import StudyDefinition
from search.study_file import built_in_studies, definition_from_plain, definition_to_plain, load_study_file

MINIMAL: dict[str, Any] = {
    "study": "small",
    "seed": 3,
    "model": {"class_path": "my_package.Net"},
    "objective": {"monitor": "val_loss", "direction": "minimize"},
    "space": {"model.width": {"int_log": [8, 64]}},
    "stages": [{"name": "coarse", "n_trials": 8, "max_epochs": 1}, {"name": "fine", "n_trials": 4, "max_epochs": 3}],
}
BELL: dict[str, Any] = {
    "study": "bell",
    "seed": 3,
    "model": {"class_path": "package.Net"},
    "objective": {"monitor": "val_acc", "direction": "maximize"},
    "space": {"model.learning_rate": {"log": [1.0e-6, 1.0]}},
    "pruner": "none",
}
"""A study for virtual workers, whose trials run to their ends, but for its stages."""


def study(**changes: Any) -> StudyDefinition:
    """The minimal study with keys replaced or added."""
    return definition_from_plain({**MINIMAL, **changes})


def digits(*overrides: str) -> StudyDefinition:
    """The shipped study of digits."""
    return load_study_file(built_in_studies()["digits"], overrides=overrides)


@functools.cache
def halving_digits() -> StudyDefinition:
    """The shipped study with ever fewer and ever longer trials, and the median rule."""
    stages = [
        {"name": "coarse", "n_trials": 48, "max_epochs": 2, "sampler": "qmc"},
        {"name": "medium", "n_trials": 24, "max_epochs": 6, "sampler": "tpe"},
        {"name": "fine", "n_trials": 12, "max_epochs": 24, "sampler": "tpe"},
    ]
    return definition_from_plain({**definition_to_plain(digits()), "stages": stages, "pruner": "median"})


_names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
_scalars = (
    st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.text(max_size=6)
    | st.sampled_from(
        ["on", "no", "1e5", "1e-5", "0x1", "010", "1_0", "12:30", "2020-01-01", "null", "~", "", "<<", "="]
    )
)
_constants = st.recursive(
    _scalars | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def _pair(low: float, high: float) -> st.SearchStrategy[list[float]]:
    bounds = st.floats(low, high, allow_subnormal=False)
    return st.tuples(bounds, bounds).map(sorted).filter(lambda both: both[0] < both[1])


def _int_pair(low: int) -> st.SearchStrategy[list[int]]:
    bounds = st.integers(low, 10**9)
    return st.tuples(bounds, bounds).map(sorted).filter(lambda both: both[0] < both[1])


_numeric_entries = st.one_of(
    st.fixed_dictionaries({"log": _pair(1e-12, 1e12)}, optional={"or_zero": st.floats(0, 0.99)}),
    st.fixed_dictionaries({"linear": _pair(-1e6, 1e6)}, optional={"or_zero": st.floats(0, 0.99)}),
    st.fixed_dictionaries({"one_minus_log": _pair(0.0, 0.99999)}, optional={"or_zero": st.floats(0, 0.99)}),
    st.fixed_dictionaries({"int": _int_pair(-100)}),
    st.fixed_dictionaries({"int_log": _int_pair(1)}),
)
_choices = st.lists(_scalars, min_size=1, max_size=4, unique_by=lambda value: (hash(value), value))


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    """Any valid study."""
    kinds = draw(_choices)
    space: dict[str, Any] = {"model.kind": {"choice": kinds}}
    for name in draw(st.lists(_names.filter(lambda name: name != "kind"), unique=True, max_size=4)):
        entry: dict[str, Any] = dict(draw(_numeric_entries))
        if draw(st.booleans()):
            entry["when"] = {"model.kind": draw(st.sampled_from(kinds))}
        space[f"model.{name}"] = entry
    if draw(st.booleans()):
        space = dict(reversed(space.items()))
    stage_names = draw(
        st.lists(_names.filter(lambda n: n not in ("confirm", "refit", "test")), min_size=1, unique=True)
    )
    return {
        **MINIMAL,
        "seed": draw(st.integers(0, 2**32 - 1)),
        "model": {"class_path": "a.B", "init_args": {"constants_": draw(_constants)}},
        "data": draw(st.none() | st.just({"class_path": "a.C", "init_args": {"folder": draw(_constants)}})),
        "trainer": {"precision": draw(_constants)},
        "space": space,
        "stages": [
            {"name": name, "n_trials": draw(st.integers(1, 99)), "max_epochs": 2, "narrow": "none"}
            for name in stage_names
        ],
        "pruner": draw(st.sampled_from(["median", "none", "hyperband", {"name": "median", "n_startup_trials": 0}])),
        "early_stopping": draw(st.sampled_from(["none", None, {"patience_epochs": 2, "min_delta": 0.5}])),
        "finish": draw(st.sampled_from(["none", None, {"top_k": 1, "n_seeds": 2}])),
        "storage": draw(st.none() | st.just("sqlite:///a.db")),
    }

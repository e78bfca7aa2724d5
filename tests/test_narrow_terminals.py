"""Tables in little room: states and figures are whole, names break at their joints, what is left out is named."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reported_studies import a_study_under_way, text_of

from search.cli.fitted_columns import Column, broken, fitted, width_of
from search.cli.status import status_report
from search.cli.trials_table import trials_table
from search.constraint import Constraint
from search.study_definition import StudyDefinition
from search.study_record import StudyRecord
from search.trial import TrialState

LONG_NAME = "exploration_of_wide_ranges"


@pytest.fixture
def full(definition: StudyDefinition) -> StudyRecord:
    """A study in which all meet that has a column of its own."""
    coarse, medium, fine = definition.stages
    stages = (replace(coarse, name=LONG_NAME), replace(medium, name="medium-length", promote=2), fine)
    objective = replace(definition.objective, gap_weight=1.0, constraints=(Constraint(metric="gap_acc", at_most=0.05),))
    record = a_study_under_way(replace(definition, stages=stages, objective=objective))
    trials = [
        replace(each, record=replace(each.record, action="continue", continues="trial-0004")) for each in record.trials
    ]
    return replace(record, trials=tuple(trials))


def test_trials_in_80_columns_have_whole_states_and_say_what_is_left_out(full: StudyRecord) -> None:
    lines = text_of(trials_table(full, full.trials, width=80)).splitlines()
    titles = lines[0].split()
    assert titles[0] == "#" and {"stage", "state", "epochs", "val_acc", "reward"} <= set(titles)
    note = " ".join(lines[lines.index("") :])
    for title in ("action", "time", "continues", "kept", "gap"):
        assert (title in titles) != (f" {title}" in note)
    words = {word for line in lines[: lines.index("")] for word in line.split()}
    assert {state.value for state in TrialState if state is not TrialState.STOPPED} <= words
    assert "exploration_" in " ".join(words) and "…" not in " ".join(words)


def test_status_in_80_columns_breaks_no_word(full: StudyRecord) -> None:
    text = text_of(status_report(full, width=80))
    table = text.split("\n\n")[1]
    assert max(map(len, table.splitlines())) <= 80
    words = set(re.findall(r"[a-z]+", table))
    states = {word for trial in full.trials for word in trial.record.state.value.split("_")}
    assert words == {"stage", "done", "promoted", "epochs", "best", "reward", "states", "medium", "length", "fine"} | (
        states | set(LONG_NAME.split("_"))
    )


def test_a_wide_status_has_a_column_for_each_state(full: StudyRecord) -> None:
    table = text_of(status_report(full, width=160), width=160).split("\n\n")[1]
    cells = {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}
    assert cells[LONG_NAME][2:9] == ["1"] * 7


@given(st.from_regex(r"[a-z]{1,9}([_ -][a-z]{1,9}){0,4}", fullmatch=True), st.integers(3, 40))
def test_a_name_is_broken_at_its_joints_and_cut_only_where_there_is_none(name: str, at_most: int) -> None:
    lines = broken(name, at_most=at_most).split("\n")
    assert max(map(len, lines)) <= at_most
    pieces = re.findall(r"[a-z]+[_-]?", name)
    if max(map(len, pieces)) <= at_most:
        assert re.findall(r"[a-z]+[_-]?", " ".join(lines)) == pieces
    else:
        assert any(line.endswith("…") for line in lines)


def test_columns_give_way_in_order_and_only_as_far_as_needed() -> None:
    columns: list[Column] = [(title, "right", ["1" * 8]) for title in ("a", "b", "c")]
    columns.append(("name", "left", ["ab-cd"]))
    for width, missing in ((35, []), (34, []), (31, ["c"]), (21, ["c", "a"])):
        shown, left_out = fitted(columns, width=width, names="name", giving_way=("none", "c", "a"))
        assert left_out == missing and width_of(shown) <= width
    assert fitted(columns, width=34, names="name")[0][-1] == ("name", "left", ["ab-\ncd"])

"""Constraints and several objectives in a study file: what is read, what is refused, what is recorded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_study import MINIMAL, study

from search.cli.console import make_console, show
from search.cli.plan import plan_report
from search.constraint import Constraint
from search.errors import StudyDefinitionError
from search.study_definition import Direction, FurtherObjective, StudyDefinition, Winner
from search.study_edits import Begun, judge_edits
from search.study_file import definition_from_plain, definition_to_plain, error_in_file, load_study_file

TWO = [
    {"monitor": "val_loss", "direction": "minimize", "gap_weight": 0.5},
    {"monitor": "val_f1", "direction": "maximize"},
]
FILE = """\
study: bounded
seed: 0
model: {class_path: package.Net}
objective: {monitor: val_acc, direction: maximize}
constraints:
  gap_acc: {at_most: 0.05}
  n_parameters: {at_most: 1.0e+6}
  val_recall: {at_least: 0.8, at_most: 1}
space: {model.lr: {log: [1.0e-5, 1.0]}}
stages: [{name: coarse, n_trials: 8, max_epochs: 2}, {name: fine, n_trials: 8, max_epochs: 4, sampler: gp}]
"""


def several(**changes: Any) -> StudyDefinition:
    plain = {**MINIMAL, "objectives": TWO, **changes}
    del plain["objective"]
    return definition_from_plain(plain)


def written(tmp_path: Path, text: str = FILE) -> Path:
    path = tmp_path / "bounded.yaml"
    path.write_text(text)
    return path


def test_constraints_are_read(tmp_path: Path) -> None:
    definition = load_study_file(written(tmp_path), overrides=["constraints.gap_acc.at_most=0.04"])
    assert definition.objective.constraints == (
        Constraint(metric="gap_acc", at_most=0.04),
        Constraint(metric="n_parameters", at_most=1e6),
        Constraint(metric="val_recall", at_least=0.8, at_most=1.0),
    )
    added = load_study_file(written(tmp_path), overrides=["constraints.epoch_seconds.at_most=30"])
    assert added.objective.constraints[-1] == Constraint(metric="epoch_seconds", at_most=30.0)


def test_the_first_of_several_objectives_is_the_objective() -> None:
    objective = several().objective
    assert (objective.monitor, objective.direction, objective.gap_weight) == ("val_loss", Direction.MINIMIZE, 0.5)
    assert objective.further == (FurtherObjective(monitor="val_f1", direction=Direction.MAXIMIZE),)
    assert objective.directions == (Direction.MINIMIZE, Direction.MAXIMIZE)


_bounds = st.fixed_dictionaries({}, optional={"at_most": st.floats(0, 9), "at_least": st.floats(-9, 0)})
_goals = st.fixed_dictionaries(
    {}, optional={"constraints": st.dictionaries(st.text(min_size=1, max_size=5), _bounds.filter(bool), max_size=3)}
)


@pytest.mark.slow
@given(goals=_goals, is_several=st.booleans())
def test_any_goals_survive_the_way_to_data_and_back(goals: dict[str, Any], is_several: bool) -> None:
    definition = several(**goals) if is_several else study(**goals)
    assert definition_from_plain(definition_to_plain(definition)) == definition


def test_a_study_with_one_objective_is_recorded_as_it_always_was() -> None:
    plain = definition_to_plain(study())
    assert plain["objective"] == {
        "monitor": "val_loss",
        "direction": "minimize",
        "gap_weight": 0.0,
        "gap_tolerance": 0.0,
    }
    assert not {"objectives", "constraints"} & plain.keys()


BAD: list[tuple[str, str, str, int, str]] = [
    ("{at_most: 0.05}", "{at_mots: 0.05}", "constraints.gap_acc.at_mots", 6, "Did you mean 'at_most'?"),
    ("{at_most: 0.05}", "{at_most: little}", "constraints.gap_acc.at_most", 6, "'little'"),
    ("{at_most: 0.05}", "{at_most: .nan}", "constraints.gap_acc.at_most", 6, "a finite number"),
    ("{at_most: 0.05}", "0.05", "constraints.gap_acc", 6, "a mapping such as {at_most: 0.05}"),
    ("{at_most: 0.05}", "{}", "constraints.gap_acc", 6, "at_most, at_least or both, but got neither"),
    ("at_least: 0.8", "at_least: 1.5", "constraints.val_recall.at_least", 8, "`at_least <= at_most` must hold"),
    ("objective: {monitor: val_acc, direction: maximize}\n", "", "objective", 1, "is required"),
]


@pytest.mark.parametrize(("old", "new", "key", "line", "said"), BAD)
def test_bad_constraints_are_refused_with_their_place(
    tmp_path: Path, old: str, new: str, key: str, line: int, said: str
) -> None:
    path = written(tmp_path, FILE.replace(old, new))
    with pytest.raises(StudyDefinitionError) as caught:
        load_study_file(path)
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("objectives", "key", "said"),
    [
        (TWO[:1], "objectives", "a list of 2 to 4 entries"),
        ([TWO[0], TWO[0]], "objectives.1.monitor", "another one than those before"),
        ([TWO[1], TWO[0]], "objectives.1.gap_weight", "belongs to the first objective"),
        ([TWO[0], {"monitor": "val_f1"}], "objectives.1.direction", "maximize or minimize"),
    ],
)
def test_bad_lists_of_objectives_are_refused(objectives: list[Any], key: str, said: str) -> None:
    with pytest.raises(StudyDefinitionError) as caught:
        several(objectives=objectives)
    assert caught.value.key == key
    assert said in str(caught.value)


def test_one_objective_and_several_are_too_many() -> None:
    with pytest.raises(StudyDefinitionError, match="beside `objective`"):
        study(objectives=TWO)


def test_a_sampler_that_cannot_weigh_objectives_is_refused() -> None:
    stages = [*MINIMAL["stages"][:1], {"name": "fine", "n_trials": 4, "max_epochs": 3, "sampler": "cmaes"}]
    message = "staged_gp, policy, mixed, portfolio with several objectives"
    with pytest.raises(StudyDefinitionError, match=message) as caught:
        several(stages=stages)
    assert caught.value.key == "stages.1.sampler"
    assert study(stages=stages).stages[1].sampler == "cmaes"


def test_a_compromise_needs_several_objectives() -> None:
    finish = {"top_k": 2, "n_seeds": 2, "winner": "compromise"}
    definition = several(finish=finish)
    assert definition.finish is not None and definition.finish.winner is Winner.COMPROMISE
    assert definition_from_plain(definition_to_plain(definition)) == definition
    with pytest.raises(StudyDefinitionError, match="must be first_objective with one objective") as caught:
        study(finish=finish)
    assert caught.value.key == "finish.winner"


def test_the_plan_shows_what_a_study_is_judged_by() -> None:
    console = make_console(file=io.StringIO(), width=120)
    show(console, plan_report(several(constraints={"val_recall": {"at_least": 0.8}, "n_parameters": {"at_most": 1e6}})))
    assert isinstance(console.file, io.StringIO)
    plan = console.file.getvalue()
    assert "besides      val_f1, more is better" in plan
    assert "constraints  val_recall >= 0.8, n_parameters <= 1000000" in plan


def test_what_is_not_measured_is_told_with_its_line(tmp_path: Path) -> None:
    error = error_in_file(written(tmp_path), "constraints.n_parameters", "must be something that is measured")
    assert error.line == 7


def test_what_comes_from_the_command_line_is_not_told_with_a_line(tmp_path: Path) -> None:
    path, text = written(tmp_path), "constraints.epoch_seconds.at_most=30"
    error = error_in_file(path, "constraints.epoch_seconds", "must be something else.", overrides=[text])
    assert str(error) == f"{path}: constraints.epoch_seconds: must be something else. (It comes from `--set {text}`.)"
    assert error_in_file(path, "constraints.n_parameters", "no.", overrides=[text]).line == 7
    with pytest.raises(StudyDefinitionError, match=r"yaml: finish.n_seeds: is required.*`--set finish.top_k=2`"):
        load_study_file(path, overrides=["finish.top_k=2"])


@pytest.mark.parametrize(
    ("edited", "line"),
    [
        (several(), "objective: "),
        (study(constraints={"gap_acc": {"at_most": 1}}), "constraints: (absent) -> {gap_acc: {at_most: 1.0}}"),
    ],
)
def test_what_a_study_is_judged_by_cannot_be_changed(edited: StudyDefinition, line: str) -> None:
    begun = Begun(first_numbers=(0,), n_trials=1, finish_has_begun=False, is_finished=False)
    edits = judge_edits(study(), edited, begun)
    assert edits[0].line.startswith(line)
    assert all("judged by" in edit.refusal for edit in edits)

"""``run`` and ``resume``: which study they take, what a dry run says, how failures are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from recorded_studies import STORAGE, TRACKING, RecordedStudies, a_record, call

from search.errors import StudyConflictError, StudyDefinitionError, StudyFailedError, StudyInterruptedError
from search.study_definition import DEFAULT_FINISH, StudyDefinition
from search.study_file import built_in_studies
from search.study_record import StudyState
from search.study_views import Edit


def test_run_of_a_built_in_study(studies: RecordedStudies, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(studies, "run", "digits", "--devices", "cpu:2", "--set", "stages.coarse.n_trials=8") == 0
    options = studies.options_of("run")
    assert options["definition"].stages[0].n_trials == 8
    assert (options["devices"], options["new"], options["storage"]) == ("cpu:2", False, None)
    out = capsys.readouterr().out
    assert STORAGE in out and TRACKING in out
    assert "Best hyperparameters (trial #1)" in out
    assert "\x1b" not in out  # plain lines where there is no terminal


def test_a_file_comes_before_a_study_and_a_study_before_a_built_in_one(
    digits: RecordedStudies, definition: StudyDefinition, tmp_path: Path
) -> None:
    digits.records["digits"] = a_record(replace(definition, seed=7))
    assert call(digits, "run", "digits") == 0
    assert digits.options_of("run")["definition"].seed == 7
    text = built_in_studies()["digits"].read_text().replace("seed: 0", "seed: 11")
    (tmp_path / "digits").write_text(text)
    digits.calls.clear()
    assert call(digits, "run", "digits") == 0
    assert digits.options_of("run")["definition"].seed == 11


def test_set_applies_to_a_recorded_study_too(digits: RecordedStudies) -> None:
    assert call(digits, "run", "digits", "--new", "--set", "seed=3") == 0
    options = digits.options_of("run")
    assert (options["definition"].seed, options["new"]) == (3, True)


def test_the_narrowing_of_a_recorded_study_can_be_changed(digits: RecordedStudies) -> None:
    assert call(digits, "run", "digits", "--new", "--set", "narrow=none") == 0
    stages = digits.options_of("run")["definition"].stages
    assert [stage.narrow.rule for stage in stages] == ["none"] * len(stages)


def test_a_finished_study_is_told_and_not_run(digits: RecordedStudies, capsys: pytest.CaptureFixture[str]) -> None:
    digits.tells = False
    assert call(digits, "run", "digits") == 0
    out = capsys.readouterr().out
    assert "is finished; this is its result" in out and "--new" in out
    assert "checking" not in out
    assert STORAGE in out and TRACKING in out


def test_resume_takes_name_file_and_stores(digits: RecordedStudies, tmp_path: Path) -> None:
    assert call(digits, "resume", "digits", "--storage", "sqlite:///x.db") == 0
    options = digits.options_of("resume")
    assert (options["storage"], options["edited"]) == ("sqlite:///x.db", None)
    (tmp_path / "mine.yaml").write_text(built_in_studies()["digits"].read_text() + "storage: sqlite:///mine.db\n")
    digits.calls.clear()
    assert call(digits, "resume", "mine.yaml") == 0
    options = digits.options_of("resume")
    assert options["storage"] == options["edited"].storage == "sqlite:///mine.db"


def test_finish_takes_name_and_overrides(digits: RecordedStudies) -> None:
    assert call(digits, "finish", "digits") == 0
    assert digits.options_of("finish")["edited"] is None
    digits.calls.clear()
    assert call(digits, "finish", "digits", "--set", "finish.top_k=5") == 0
    finish = digits.options_of("finish")["edited"].finish
    assert finish is not None and finish.top_k == 5


def test_finish_of_a_study_without_one_overrides_the_default(digits: RecordedStudies) -> None:
    record = digits.records["digits"]
    bare = replace(record.definition, finish=None)
    digits.records["digits"] = replace(record, definition=bare)
    assert call(digits, "finish", "digits", "--set", "finish.top_k=2") == 0
    assert digits.options_of("finish")["edited"] == replace(bare, finish=replace(DEFAULT_FINISH, top_k=2))


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["run", "digits", "--checkpoints", "s3://bucket"], "run"),
        (["run", "digits", "--checkpoints", "s3://bucket", "--dry-run"], "preview"),
        (["resume", "digits"], "resume"),
        (["finish", "digits"], "finish"),
    ],
)
def test_where_a_study_runs_is_handed_on(digits: RecordedStudies, arguments: list[str], asked: str) -> None:
    where = {
        "devices": "gpu:2",
        "engine": "ray",
        "ray_address": "head:6379",
        "storage": "sqlite:///x.db",
        "tracking_uri": "http://host",
    }
    words = [word for name, value in where.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert call(digits, *arguments, *words) == 0
    expected = where | ({"checkpoints": "s3://bucket"} if "--checkpoints" in arguments else {})
    assert digits.options_of(asked).items() >= expected.items()


def test_dry_run_shows_plan_and_inspection(studies: RecordedStudies, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(studies, "run", "digits", "--dry-run") == 0
    assert not any(name == "run" for name, _ in studies.calls)
    out = capsys.readouterr().out
    for words in ("Plan of study digits", "model.momentum", "12,345", "beware", STORAGE):
        assert words in out


@pytest.mark.parametrize(
    ("state", "edits", "words"),
    [
        (None, (), "A run would begin study digits"),
        (StudyState.UNFINISHED, (), "Study digits is unfinished: a run would go on with it"),
        (StudyState.FINISHED, (), "Study digits is finished: a run would print its result"),
        (StudyState.RUNNING, (), "Study digits is running"),
        (StudyState.FINISHED, (Edit(line="seed: 0 -> 1", refusal="no"),), "seed: 0 -> 1 (refused: no)"),
        (StudyState.FINISHED, (Edit(line="stages.0.n_trials: 1 -> 2", refusal=""),), "a run would take it up again"),
        (StudyState.UNFINISHED, (Edit(line="seed: 0 -> 1", refusal="no"),), "a run would be refused"),
        (
            StudyState.UNFINISHED,
            (Edit(line="budget: none -> 1", refusal=""),),
            "a run would go on with it with what has",
        ),
    ],
)
def test_dry_run_says_what_a_run_would_do(
    studies: RecordedStudies,
    capsys: pytest.CaptureFixture[str],
    state: StudyState | None,
    edits: tuple[Edit, ...],
    words: str,
) -> None:
    studies.state, studies.edits = state, edits
    assert call(studies, "run", "digits", "--dry-run") == 0
    assert words in capsys.readouterr().out


def test_dry_run_of_a_new_study_shows_the_name_that_it_would_have(
    studies: RecordedStudies, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(studies, "run", "digits", "--dry-run", "--new") == 0
    assert studies.options_of("preview")["new"]
    assert "A run would begin study digits-2" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["run", "resume"])
def test_what_takes_time_is_said_before_it_begins(
    digits: RecordedStudies, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    digits.failure = StudyFailedError("every trial failed")  # raised where the study would open
    assert call(digits, command, "digits") == 1
    assert "checking the model and the data" in capsys.readouterr().out


@pytest.mark.parametrize("flag", [[], ["--dry-run"]])
def test_an_error_of_the_classes_gets_file_and_line(
    studies: RecordedStudies, capsys: pytest.CaptureFixture[str], tmp_path: Path, flag: list[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(built_in_studies()["digits"].read_text())
    studies.failure = StudyDefinitionError("there is no such class", key="model.class_path")
    assert call(studies, "run", "mine.yaml", *flag) == 2
    lines = (tmp_path / "mine.yaml").read_text().splitlines()
    line = next(index for index, text in enumerate(lines, start=1) if text.startswith("model:"))
    assert capsys.readouterr().err == f"zeroin: error: mine.yaml:{line}: model.class_path: there is no such class\n"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (StudyConflictError("held by process 7"), 2),
        (StudyFailedError("every trial failed"), 1),
        (StudyInterruptedError("stopped; `zeroin resume digits` continues"), 130),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("by zero"), 1),
    ],
)
def test_failures_are_one_message_and_an_exit_code(
    studies: RecordedStudies, capsys: pytest.CaptureFixture[str], failure: BaseException, code: int
) -> None:
    studies.failure = failure
    assert call(studies, "run", "digits") == code
    err = capsys.readouterr().err
    assert "zeroin: error: " in err and str(failure) in err
    assert "Traceback" not in err
    if not isinstance(failure, KeyboardInterrupt):
        assert call(studies, "--debug", "run", "digits") == code
        assert "Traceback" in capsys.readouterr().err

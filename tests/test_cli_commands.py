from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from search.cli.command_context import CommandContext
from search.cli.main import exit_code_of
from search.errors import (
    StudyConflictError,
    StudyDefinitionError,
    StudyFailedError,
    StudyInterruptedError,
    StudyNotFoundError,
)
from search.messages import InspectionResult
from search.observer import StudyObserver
from search.paths import StateDirectory
from search.studies_api import FoundStudy, StudyPreview, StudySummary
from search.study_definition import StudyDefinition
from search.study_file import built_in_studies, load_study_file
from search.study_record import ScoredTrial, StudyRecord, StudyState
from search.trial import EpochRecord, Score, TrialRecord, TrialState

ROOT = Path(__file__).resolve().parents[1]
STORAGE, TRACKING = "journal:///somewhere/optuna.journal", "sqlite:////somewhere/mlflow.db"


def a_record(definition: StudyDefinition, *, state: StudyState = StudyState.UNFINISHED) -> StudyRecord:
    space = definition.space
    trials = []
    for number, value in enumerate((0.7, 0.9, 0.8)):
        record = TrialRecord(
            key=f"trial-{number:04d}",
            number=number,
            stage="coarse",
            hyperparameters=space.from_units(dict.fromkeys(space.names, 0.2 * number)),
            seed=number,
            n_epochs=1,
            horizon_epochs=24,
            epochs=(EpochRecord(epoch=1, metrics={"val_acc": value}, time_ms=0),),
            state=TrialState.COMPLETE,
            started_ms=0,
            finished_ms=1500,
        )
        score = Score(reward=value, best_value=value, best_epoch=1, gap_at_best=math.nan)
        trials.append(ScoredTrial(record=record, score=score))
    return StudyRecord(
        definition=definition,
        state=state,
        openings=(),
        trials=tuple(trials),
        result=None,
        storage=STORAGE,
        tracking_uri=TRACKING,
        directory="/somewhere/trials/digits",
    )


@dataclass
class RecordedStudies:
    """The interface to studies over records in memory; notes what it was asked."""

    records: dict[str, StudyRecord] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    failure: BaseException | None = None
    tells: bool = True
    state: StudyState | None = None
    conflicts: tuple[str, ...] = ()
    unreadable: str = ""

    def run_study(self, definition: StudyDefinition, *, observer: StudyObserver, **options: Any) -> StudyRecord:
        return self._ran("run", definition, observer, options)

    def resume_study(self, name: str, *, observer: StudyObserver, **options: Any) -> StudyRecord:
        return self._ran("resume", self.records[name].definition, observer, options)

    def preview_study(self, definition: StudyDefinition, **options: Any) -> StudyPreview:
        self._note("preview", definition=definition, **options)
        inspection = InspectionResult(
            error="",
            error_key="",
            metrics=("val_acc",),
            notices=("beware",),
            n_parameters=12345,
            measures_gap=True,
            has_test_data=True,
            traceback="",
        )
        return StudyPreview(
            inspection=inspection,
            n_workers=2,
            storage=STORAGE,
            tracking_uri=TRACKING,
            directory="/somewhere",
            name=f"{definition.study}-2" if options["new"] else definition.study,
            state=self.state,
            conflicts=self.conflicts,
        )

    def find_study(self, name: str, **options: Any) -> FoundStudy:
        record = self.read_study(name, **options)
        return FoundStudy(
            definition=record.definition,
            is_running=record.state is StudyState.RUNNING,
            storage=record.storage,
            tracking_uri=record.tracking_uri,
            directory=record.directory,
        )

    def read_study(self, name: str, **options: Any) -> StudyRecord:
        self._note("read", name=name, **options)
        if name not in self.records:
            raise StudyNotFoundError(f"no {name!r}")
        return self.records[name]

    def list_studies(self, *, directory: StateDirectory, storage: str | None = None) -> Sequence[StudySummary]:
        broken = StudySummary(
            name="broken",
            state=StudyState.UNFINISHED,
            n_finished=0,
            n_trials=0,
            best_reward=None,
            updated_ms=None,
            error=self.unreadable,
        )
        return [
            *(
                StudySummary(
                    name=name,
                    state=record.state,
                    n_finished=3,
                    n_trials=84,
                    best_reward=0.9,
                    updated_ms=1_700_000_000_000,
                )
                for name, record in self.records.items()
            ),
            *([broken] if self.unreadable else []),
        ]

    def delete_study(self, name: str, **options: Any) -> Sequence[str]:
        self._note("delete", name=name, **options)
        return ["everything"]

    def _ran(
        self, what: str, definition: StudyDefinition, observer: StudyObserver, options: dict[str, Any]
    ) -> StudyRecord:
        self._note(what, definition=definition, **options)
        record = a_record(definition)
        if self.tells:
            observer.study_opened(record, resumed=False, n_workers=1)
        return replace(record, state=StudyState.FINISHED)

    def _note(self, what: str, **options: Any) -> None:
        self.calls.append((what, options))
        if self.failure is not None and what != "read":
            raise self.failure

    def options_of(self, what: str) -> dict[str, Any]:
        found = [options for name, options in self.calls if name == what]
        assert len(found) == 1, self.calls
        return found[0]


@pytest.fixture
def definition() -> StudyDefinition:
    return load_study_file(built_in_studies()["digits"])


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RecordedStudies:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return RecordedStudies()


@pytest.fixture
def digits(studies: RecordedStudies, definition: StudyDefinition) -> RecordedStudies:
    studies.records["digits"] = a_record(definition)
    return studies


def call(studies: RecordedStudies, *arguments: str) -> int:
    return exit_code_of(list(arguments), context=CommandContext(api=studies))


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
    assert STORAGE in out and TRACKING in out


def test_resume_takes_name_file_and_stores(digits: RecordedStudies, tmp_path: Path) -> None:
    assert call(digits, "resume", "digits", "--storage", "sqlite:///x.db") == 0
    assert digits.options_of("resume")["storage"] == "sqlite:///x.db"
    (tmp_path / "mine.yaml").write_text(built_in_studies()["digits"].read_text() + "storage: sqlite:///mine.db\n")
    digits.calls.clear()
    assert call(digits, "resume", "mine.yaml") == 0
    assert digits.options_of("resume")["storage"] == "sqlite:///mine.db"


def test_dry_run_shows_plan_and_inspection(studies: RecordedStudies, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(studies, "run", "digits", "--dry-run") == 0
    assert not any(name == "run" for name, _ in studies.calls)
    out = capsys.readouterr().out
    for words in ("Plan of study digits", "model.momentum", "12,345", "beware", STORAGE):
        assert words in out


@pytest.mark.parametrize(
    ("state", "conflicts", "words"),
    [
        (None, (), "A run would begin study digits"),
        (StudyState.UNFINISHED, (), "Study digits is unfinished: a run would go on with it"),
        (StudyState.FINISHED, (), "Study digits is finished: a run would print its result"),
        (StudyState.RUNNING, (), "Study digits is running"),
        (StudyState.FINISHED, ("seed: 0 -> 1",), "seed: 0 -> 1"),
        (StudyState.UNFINISHED, ("seed: 0 -> 1",), "a run would be refused"),
    ],
)
def test_dry_run_says_what_a_run_would_do(
    studies: RecordedStudies,
    capsys: pytest.CaptureFixture[str],
    state: StudyState | None,
    conflicts: tuple[str, ...],
    words: str,
) -> None:
    studies.state, studies.conflicts = state, conflicts
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu", "digits"], "Did you mean 'run'?"),
        (["run"], "Missing argument 'STUDY'"),
        (["run", "digits", "--device", "2"], "'--devices'"),
        (["run", "digts"], "Did you mean 'digits'?"),
        (["status", "digits"], "has not been run yet"),
        (["run", "no/such/file.yaml"], "there is no study file 'no/such/file.yaml'"),
        (["run", "mien.yaml"], "Did you mean 'mine.yaml'?"),
        (["run", "digits", "--set", "sede=1"], "Did you mean 'seed'?"),
        (["run", "digits", "--set", "seed"], "="),
        (["trials", "mine.yaml", "--format", "xml"], "'xml' is not one of"),
        (["ui", "--port", "0"], "1<=x<=65535"),
    ],
)
def test_bad_input_is_2_with_a_hint(
    studies: RecordedStudies,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    words: str,
) -> None:
    (tmp_path / "mine.yaml").write_text(built_in_studies()["digits"].read_text())
    assert call(studies, *arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("zeroin: error: ") and words in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize("command", ["status", "trials", "best", "ranges"])
@pytest.mark.parametrize("format_", ["table", "json"])
def test_every_look_at_a_store_says_which(
    digits: RecordedStudies, capsys: pytest.CaptureFixture[str], command: str, format_: str
) -> None:
    assert call(digits, command, "digits", "--format", format_) == 0
    out, err = capsys.readouterr()
    if format_ == "json":
        json.loads(out)
        assert STORAGE in err and TRACKING in err
    else:
        assert STORAGE in out and TRACKING in out
        assert err == ""


def test_commands_to_copy_are_never_broken_over_two_lines(
    digits: RecordedStudies, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    assert call(digits, "status", "digits") == 0
    out = capsys.readouterr().out
    assert "`zeroin resume digits`" in out and "`zeroin best digits`" in out
    digits.tells = False
    assert call(digits, "run", "digits") == 0
    assert "`zeroin run digits --new`" in capsys.readouterr().out


def test_list(digits: RecordedStudies, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(digits, "list") == 0
    out = capsys.readouterr().out
    assert "optuna.journal" in out
    assert ["digits", "unfinished", "3/84", "0.9000"] in [line.split()[:4] for line in out.splitlines()]
    assert call(digits, "list", "--format", "csv") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("digits,unfinished,3,84,0.9,")


def test_list_tells_of_a_study_that_cannot_be_read(digits: RecordedStudies, capsys: pytest.CaptureFixture[str]) -> None:
    digits.unreadable = "epochs.jsonl:3: not an entry of an epoch log"
    assert call(digits, "list") == 0
    out = capsys.readouterr().out
    assert ["broken", "unreadable"] in [line.split()[:2] for line in out.splitlines()]
    assert digits.unreadable in out
    assert ["digits", "unfinished", "3/84"] in [line.split()[:3] for line in out.splitlines()]
    assert call(digits, "list", "--format", "json") == 0
    assert [row["error"] for row in json.loads(capsys.readouterr().out)] == ["", digits.unreadable]


def test_list_of_nothing_says_how_to_begin(studies: RecordedStudies, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(studies, "list") == 0
    out = capsys.readouterr().out
    assert "zeroin run digits" in out and "zeroin init NAME" in out  # neither is broken over two lines


def test_trials_are_chosen_and_ordered(digits: RecordedStudies, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(digits, "trials", "digits", "--sort", "reward", "--limit", "2", "--format", "json") == 0
    assert [row["number"] for row in json.loads(capsys.readouterr().out)] == [1, 2]
    assert call(digits, "trials", "digits", "--stage", "fine", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert call(digits, "trials", "digits", "--stage", "finest") == 2
    assert "coarse, medium, fine" in capsys.readouterr().err


@pytest.mark.parametrize("format_", ["table", "json", "csv", "parquet"])
def test_output_goes_to_a_file(digits: RecordedStudies, tmp_path: Path, format_: str) -> None:
    file = tmp_path / "out"
    assert call(digits, "trials", "digits", "--format", format_, "-o", str(file)) == 0
    assert file.stat().st_size > 100
    assert call(digits, "trials", "digits", "--format", format_, "-o", str(tmp_path / "no" / "out")) == 2


def test_init_writes_a_study_that_loads_and_never_overwrites(
    studies: RecordedStudies, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call(studies, "init", "mine") == 0
    assert load_study_file(tmp_path / "mine.yaml").study == "mine"
    (tmp_path / "mine.yaml").write_text("precious")
    assert call(studies, "init", "mine") == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "mine.yaml").read_text() == "precious"
    assert call(studies, "init", "mine", "--force") == 0
    assert call(studies, "init", "studies/other.yaml") == 0
    assert load_study_file(tmp_path / "studies" / "other.yaml").study == "other"


@pytest.mark.parametrize("name", ["a b/c d", "_x", "foo.", "x.yaml.yaml", "-x.yaml", "a: b", "a" * 101, "sub/.yaml"])
def test_init_refuses_a_name_that_no_study_may_have(
    studies: RecordedStudies, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    assert call(studies, "init", "--", name) == 2
    assert "must be a name of 1 to 100 letters" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_schema_is_json(studies: RecordedStudies, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(studies, "schema") == 0
    assert "stages" in json.loads(capsys.readouterr().out)["properties"]


def test_delete_asks_and_tells(
    digits: RecordedStudies, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        assert call(digits, "delete", "digits") == 2
    assert "--yes" in capsys.readouterr().err
    assert not any(name == "delete" for name, _ in digits.calls)
    assert call(digits, "delete", "digits", "--yes") == 0
    assert digits.options_of("delete")["name"] == "digits"
    out = capsys.readouterr().out
    assert STORAGE in out and "everything" in out


def test_a_running_study_is_not_deleted(digits: RecordedStudies, definition: StudyDefinition) -> None:
    digits.records["digits"] = a_record(definition, state=StudyState.RUNNING)
    assert call(digits, "delete", "digits", "--yes") == 2
    assert not any(name == "delete" for name, _ in digits.calls)


def test_ui_of_nothing_and_on_a_taken_port(
    studies: RecordedStudies, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call(studies, "ui") == 2
    assert "nothing has been logged" in capsys.readouterr().err
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert call(studies, "ui", "--port", str(taken.getsockname()[1])) == 2
    assert "--port" in capsys.readouterr().err


@pytest.mark.slow
def test_ui_serves_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ZEROIN_HOME": str(tmp_path)}
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    command = [sys.executable, "-m", "search", "ui", "--port", str(port), "--tracking-uri", uri]
    server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        told = [server.stdout.readline() for _ in range(3)]
        assert uri in told[0] and f"http://127.0.0.1:{port}/" in told[2]
        assert _answers(f"http://127.0.0.1:{port}/health")
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)
    finally:
        server.kill()
        server.communicate()
    with socket.create_server(("127.0.0.1", port)):  # nothing of the server is left
        pass


def _answers(url: str) -> bool:
    deadline = time.monotonic() + 120.0
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5.0) as response:
                return bool(response.status == 200)
        except OSError:
            time.sleep(0.5)
    return False

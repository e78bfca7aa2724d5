"""Every command but ``run`` and ``resume``, and input that none of them takes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from command_line import ROOT, free_port, listening, wait_for
from mlflow_server import is_healthy
from recorded_studies import STORAGE, TRACKING, RecordedStudies, a_record, call

from search.study_definition import StudyDefinition
from search.study_file import built_in_studies, load_study_file
from search.study_record import StudyState


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu", "digits"], "Did you mean 'run'?"),
        (["run"], "Missing argument 'STUDY'"),
        (["run", "digits", "--device", "2"], "Did you mean one of: '--devices', '--engine'?"),
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


def test_a_folder_is_no_study_file(
    studies: RecordedStudies, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").mkdir()
    assert call(studies, "run", "mine.yaml") == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "a study file must be a file, but 'mine.yaml' is a directory" in err and "Did you mean" not in err
    assert call(studies, "run", "mien.yaml") == 2
    assert "Did you mean" not in capsys.readouterr().err


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
def test_ui_serves_and_ends_with_ctrl_c(tmp_path: Path, mlflow_uri: str) -> None:
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ZEROIN_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "search", "ui", "--port", str(port), "--tracking-uri", mlflow_uri]
    server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        told = [server.stdout.readline() for _ in range(3)]
        assert mlflow_uri in told[0] and f"http://127.0.0.1:{port}/" in told[2]
        wait_for(lambda: is_healthy(f"http://127.0.0.1:{port}"))
        assert {address for address, _ in listening(psutil.Process(server.pid))} == {"127.0.0.1"}
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)
    finally:
        server.kill()
        server.communicate()
    with socket.create_server(("127.0.0.1", port)):  # nothing of the server is left
        pass

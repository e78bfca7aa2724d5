"""What others could plant or overhear: pickles, names, passwords, open ports."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import optuna
import pytest
from plain_study import BELL
from study_runs import run_session
from virtual_engine import Faults, KilledError, VirtualEngine

from search.cli.main import exit_code_of
from search.credentials import keep_credentials, require_credentials, with_credentials
from search.errors import SearchError, StateError
from search.journal_file import JournalFile
from search.known_secrets import remember, without_secrets
from search.messages import EpochReport, decode
from search.paths import StateDirectory
from search.storage import StudyStore
from search.studies_api import delete_study, run_study
from search.study_file import definition_from_plain
from search.study_record import StudyState
from search.tracking import MlflowTracker
from search.uris import is_masked, masked, masked_text

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path for package in ("search", "lightning_modules", "studies") for path in (ROOT / package).rglob("*.py")
)
RESTRICTED = ROOT / "lightning_modules" / "data" / "cifar_pickles.py"
"""Reads pickles by an unpickler that calls nothing of what they name; tests/test_published_data.py plants some."""

FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
PLAIN: dict[str, Any] = {
    **BELL,
    "stages": [{"name": "coarse", "n_trials": 4, "max_epochs": 1, "sampler": "random"}],
}


class Planted:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self._marker),)


def dangers(source: str) -> list[str]:
    """What could run code that others planted: where a source imports, loads or evaluates it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [name for name in names if name.partition(".")[0] in FORBIDDEN_MODULES]
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {each.arg: ast.unparse(each.value) for each in node.keywords}
            is_danger = (
                name in ("eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load")
                or "load_from_checkpoint" in name
                or options.get("allow_pickle", "False") != "False"
                or (name == "torch.load" and options.get("weights_only") != "True")
                or (name.endswith(".fit") and "ckpt_path" in options and options.get("weights_only", "")[:4] != "True")
            )
            found += [name] if is_danger else []
    return found


@pytest.mark.slow
def test_no_source_of_ours_unpickles_or_evaluates() -> None:
    assert len(SOURCES) > 100
    found = {path: found for path in SOURCES if (found := dangers(path.read_text()))}
    assert found == {RESTRICTED: ["pickle"]}
    assert not re.search(r"pickle\.(loads?|_?Unpickler\()", RESTRICTED.read_text())


@pytest.mark.parametrize(
    "source",
    [
        "import os, pickle",
        "from joblib.numpy_pickle import load",
        "eval('1')",
        "yaml.load(text)",
        "numpy.load(path, allow_pickle=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "trainer.fit(model, ckpt_path=path)",
        "Net.load_from_checkpoint(path)",
    ],
)
def test_what_unpickles_or_evaluates_would_be_found(source: str) -> None:
    assert len(dangers(source)) == 1


def test_a_journal_has_no_snapshots_which_optuna_would_unpickle() -> None:
    assert not hasattr(JournalFile, "load_snapshot")


class Unpickling:
    """Counts what is unpickled anywhere in this process; Python's audit hooks cannot be removed, only told to rest."""

    _found: ClassVar[list[object] | None] = None
    _is_installed: ClassVar[bool] = False

    @classmethod
    @contextmanager
    def watched(cls) -> Iterator[list[object]]:
        if not cls._is_installed:
            sys.addaudithook(cls._hear)
            cls._is_installed = True
        cls._found = found = []
        try:
            yield found
        finally:
            cls._found = None

    @classmethod
    def _hear(cls, event: str, values: object) -> None:
        if event == "pickle.find_class" and cls._found is not None:
            cls._found.append(values)


@pytest.mark.slow
def test_nothing_is_unpickled_in_the_life_of_a_study(
    tmp_path: Path, copied_mlflow_database: Callable[[Path], Path]
) -> None:
    copied_mlflow_database(tmp_path / "mlflow.db")
    samplers = ("random", "cmaes", "tpe", "policy")
    study = PLAIN | {"stages": [PLAIN["stages"][0] | {"name": each, "sampler": each} for each in samplers]}
    state, definition = StateDirectory(root=tmp_path), definition_from_plain(study)
    faults, checkpoints = Faults(killed_after_polls=8), dict[str, int]()
    marker = tmp_path / "marker"

    def run(engine: VirtualEngine) -> StudyState:
        return run_session(state, engine, definition, storage=f"sqlite:///{tmp_path}/optuna.db").state

    with Unpickling.watched() as unpickled:
        with pytest.raises(KilledError):
            run(VirtualEngine(checkpoints=checkpoints, faults=faults))
        planted = json.dumps(pickle.dumps(Planted(marker)).hex())
        with closing(sqlite3.connect(tmp_path / "optuna.db")) as database, database:
            trials = database.execute("SELECT trial_id FROM trials").fetchall()
            assert trials
            for (trial_id,) in trials:  # where Optuna's own CMA-ES looks for what it unpickles
                database.execute(
                    "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (?, 'cma:optimizer:0', ?)",
                    (trial_id, planted),
                )
        assert run(VirtualEngine(checkpoints=checkpoints)) is StudyState.FINISHED
        assert unpickled == []
        pickle.loads(pickle.dumps(Path))
        assert len(unpickled) == 1  # so it would have been noticed
    assert not marker.exists()


@pytest.mark.parametrize("name", ["last.ckpt", "weights.pt"])
@pytest.mark.parametrize("by_torch", [False, True])
def test_a_planted_checkpoint_is_refused_in_words(name: str, by_torch: bool, tmp_path: Path) -> None:
    import torch

    from lightning_modules.callbacks.epoch_checkpoint import CheckpointError, load_checkpoint

    planted = Planted(tmp_path / "marker")
    if by_torch:
        torch.save({"state_dict": planted}, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(planted))
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(tmp_path / name)
    assert not (tmp_path / "marker").exists()


def test_a_pickled_message_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        decode(pickle.dumps(Planted(tmp_path / "marker"), protocol=0))
    assert not (tmp_path / "marker").exists()


PASSWORD = "pa@secr/t0p:hush"
ENCODED = "pa%40secr%2Ft0p%3Ahush"


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        (f"postgresql://me:{ENCODED}@db/x", f"cannot connect with {PASSWORD} to db"),
        (f"postgresql://me:{ENCODED}@db/x", f"cannot connect with {ENCODED} to db"),
        (f"postgresql://me:{PASSWORD}@db/x", f"invalid port: '{PASSWORD.partition(':')[2]}@db'"),
        (f"postgresql://db/x?password={ENCODED}", f"connection string: host=db password={PASSWORD}"),
        ("postgresql://db/x?user=me&password=abc", "no such option: 'abc'"),
        ("http://me:tok-123456@host:5000", "http://me:tok-123456@host:5000/api/2.0: refused"),
        ("https://tok-123456@host/", "Max retries exceeded with url: https://tok-123456@host/api (tok-123456)"),
        ("", f"(psycopg.OperationalError) DSN postgresql://me:{ENCODED}@db/x?sslmode=require failed"),
        ("", f"connect(host='db', password='{PASSWORD}')"),
        ("", "https://host/?access_token=tok-123456&x=1"),
        ("", "headers {'Authorization': 'Basic tok-123456'} refused"),
        ("", "> authorization: Bearer tok-123456"),
        ("", "DefaultEndpointsProtocol=https;AccountKey=tok-123456;EndpointSuffix=x"),
        (f"simplecache::sftp://me:{ENCODED}@host/x", f"{PASSWORD}: authentication failed"),
    ],
)
def test_no_spelling_of_a_secret_survives(uri: str, text: str) -> None:
    shown = masked_text(text, *([uri] if uri else []))
    assert "***" in shown
    for secret in (PASSWORD, ENCODED, "secr", "t0p", "hush", "tok-123456", "abc"):
        assert secret not in shown


def test_what_is_no_secret_stays_readable() -> None:
    text = 'FATAL: password authentication failed for user "me" on postgresql://me@db/x, port 5432'
    assert masked_text(text, "postgresql://me:to@db/x") == text
    assert masked("https://host/path@v2?page=1") == "https://host/path@v2?page=1"


@pytest.mark.parametrize("debug", [[], ["--debug"]])
@pytest.mark.parametrize(
    "options",
    [
        ["--storage", f"postgresql://me:{ENCODED}@127.0.0.1:1/x"],
        ["--storage", f"postgresql://127.0.0.1:1/x?user=me&password={ENCODED}"],
        ["--storage", f"postgresql://me:{PASSWORD}@127.0.0.1:1/x"],
        ["--storage", f"postgresql://me:{ENCODED}@127.0.0.1:port/x"],
        ["--storage", f"nonsense://me:{ENCODED}@127.0.0.1/x"],
    ],
)
def test_errors_and_tracebacks_tell_no_password(
    options: list[str], debug: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of([*debug, "status", "digits", *options]) == 2
    told = capsys.readouterr().err
    assert "***" in told
    assert bool(debug) == ("Traceback" in told)
    for secret in (PASSWORD, ENCODED, "secr", "t0p", "hush"):
        assert secret not in told


@pytest.mark.parametrize(
    "stores",
    [
        {"storage": f"postgresql://me:{ENCODED}@127.0.0.1:1/x"},
        {"storage": f"postgresql://me:{ENCODED}@127.0.0.1:port/x"},
        {"storage": f"https://me:{ENCODED}@127.0.0.1:1/x"},
        {"tracking_uri": f"postgresql://me:{ENCODED}@127.0.0.1:port/x"},
        {"checkpoints": f"ftp://me:{ENCODED}@127.0.0.1:1/x"},
        {"checkpoints": f"no-such-protocol://me:{ENCODED}@127.0.0.1/x"},
    ],
)
def test_no_exception_in_the_chain_that_a_notebook_shows_tells_a_password(
    stores: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(SearchError) as caught:
        run_study(definition_from_plain(PLAIN | stores), directory=StateDirectory(root=tmp_path / "state"))
    told = "\n".join(f"{error!r} {error}" for error in chain(caught.value))
    assert "***" in told
    for secret in (PASSWORD, ENCODED, "secr", "t0p", "hush"):
        assert secret not in told
    assert list(tmp_path.iterdir()) == []


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception with all that are shown above it."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def test_a_text_is_cleared_of_all_that_the_process_has_met() -> None:
    remember("postgresql://me:met-before@db/x")
    assert without_secrets("retrying with met-before") == "retrying with ***"


@pytest.mark.parametrize("option", ["--storage", "--tracking-uri"])
@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_missing_driver_is_told_with_what_installs_it_and_nothing_is_created(
    option: str,
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    monkeypatch.setenv("ZEROIN_HOME", str(tmp_path / "state"))
    assert exit_code_of(["run", "digits", option, f"{scheme}://me:secret@127.0.0.1:1/x"]) == 2
    told = capsys.readouterr().err
    assert "pip install 'zeroin[postgresql]'" in told
    assert f"{scheme}://me:***@127.0.0.1:1/x" in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_passwords_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    keep_credentials(file, "http://host:5000")
    assert not file.exists()
    uris = [f"postgresql://me:{ENCODED}@db/x", "http://me:token@host"]
    for uri in uris:
        keep_credentials(file, uri)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [with_credentials(file, masked(uri)) for uri in uris] == uris
    assert with_credentials(file, "postgresql://me:***@elsewhere/x") == "postgresql://me:***@elsewhere/x"
    assert list(tmp_path.iterdir()) == [file]


def test_a_password_that_is_not_kept_here_is_asked_for() -> None:
    uri = masked("postgresql://me:secret@db/x")
    assert is_masked(uri)
    with pytest.raises(StateError, match="--tracking-uri URI"):
        require_credentials(uri, what="the MLflow store", option="--tracking-uri")
    require_credentials("postgresql://me@db/x", what="the MLflow store", option="--tracking-uri")


def test_the_recorded_definition_tells_no_password(tmp_path: Path) -> None:
    storage = f"journal://{tmp_path / 'optuna.journal'}"
    definition = definition_from_plain(PLAIN | {"storage": storage, "tracking_uri": f"http://me:{ENCODED}@host"})
    study = StudyStore(storage, create=True).create(definition, directory=tmp_path)
    assert study.definition.tracking_uri == "http://me:***@host"
    assert ENCODED not in (tmp_path / "optuna.journal").read_text()


@pytest.mark.parametrize("name", ["con", "NUL", "aux.txt", "com1", "x.", "Lpt9.log"])
def test_names_of_devices_are_refused_everywhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="Windows"):
        StateDirectory(root=tmp_path).study(name)


@pytest.mark.parametrize("name", ["..", "../x", "/etc/x", "a\0b", "x" * 300, "con", "a/b", "~root", "a\\b"])
def test_a_study_file_cannot_name_what_lies_elsewhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZEROIN_HOME", str(tmp_path / "state"))
    file = tmp_path / "study.yaml"
    for key, changes in {
        "study": {"study": name},
        "stages.0.name": {"stages": [PLAIN["stages"][0] | {"name": name}]},
        "model.class_path": {"model": {"class_path": f"{name}.Net"}},
    }.items():
        if (key, name) in (("stages.0.name", "con"), ("model.class_path", "con"), ("model.class_path", "x" * 300)):
            continue  # no file has a stage's name, and these are import paths
        file.write_text(json.dumps(PLAIN | changes))
        assert exit_code_of(["run", str(file), "--dry-run"]) == 2
        told = capsys.readouterr().err
        assert f"study.yaml:1: {key}" in told, told
    assert list(tmp_path.iterdir()) == [file]


def planted_study(tmp_path: Path, directory: Path) -> StateDirectory:
    state = StateDirectory(root=tmp_path / "state")
    state.make(state.root)
    storage = f"journal://{state.optuna_journal}"
    StudyStore(storage, create=True).create(definition_from_plain(PLAIN), directory=directory)
    return state


@pytest.mark.parametrize("where", ["precious", "trials/bell", "x/../trials/bell", "link/bell"])
def test_deletion_removes_no_directory_that_is_not_a_studys(where: str, tmp_path: Path) -> None:
    precious = tmp_path / "trials" / "bell" / "thesis.tex"
    precious.parent.mkdir(parents=True)
    precious.write_text("years of work")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "x").write_text("")
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "trials")
    state = planted_study(tmp_path, tmp_path / where)
    with pytest.raises(StateError, match="nothing was deleted"):
        delete_study("bell", directory=state)
    assert precious.read_text() == "years of work"
    assert (tmp_path / "precious" / "x").exists()
    assert optuna.load_study(
        study_name="bell", storage=optuna.storages.JournalStorage(JournalFile(state.optuna_journal))
    )


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", ["last.ckpt", "last.ckpt/weights"])
def test_nothing_is_written_or_removed_behind_the_link_that_a_trials_directory_is(
    checkpoint: str, tmp_path: Path
) -> None:
    precious = tmp_path / "precious" / checkpoint
    precious.parent.mkdir(parents=True)
    precious.write_text("weeks of training")
    state = StateDirectory(root=tmp_path / "state")
    trial = state.study("bell").trial("trial-0001")

    def plant(report: EpochReport) -> None:
        trial.directory.symlink_to(tmp_path / "precious")

    definition = definition_from_plain(PLAIN | {"finish": None})
    engine = VirtualEngine(on_epoch=plant)
    with pytest.raises(StateError, match=r"trial-0001 is a link to .*precious"):
        run_session(state, engine, definition)
    assert {key for key, _ in engine.trained} == {"trial-0000"}
    with pytest.raises(StateError, match="is a link"):
        trial.remove_checkpoints()
    assert precious.read_text() == "weeks of training"
    assert [each.name for each in (tmp_path / "precious").iterdir()] == ["last.ckpt"]


def test_of_a_checkpoint_that_is_a_link_the_link_is_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious" / "thesis.tex"
    precious.parent.mkdir()
    precious.write_text("years of work")
    trial = StateDirectory(root=tmp_path).study("bell").trial("trial-0000")
    trial.directory.mkdir(parents=True)
    trial.checkpoint.symlink_to(precious.parent)
    trial.previous_checkpoint.symlink_to(precious)
    trial.remove_checkpoints()
    assert list(trial.directory.iterdir()) == []
    assert precious.read_text() == "years of work"


def test_no_directory_is_open_to_everybody(tmp_path: Path) -> None:
    state = StateDirectory(root=tmp_path / "state")
    before = os.umask(0)
    try:
        made = state.make(state.study("bell").trial("trial-0000").directory)
    finally:
        os.umask(before)
    for directory in (made, *made.parents):
        if directory != tmp_path and tmp_path in directory.parents:
            assert directory.stat().st_mode & 0o777 == 0o775


@pytest.mark.slow
def test_what_is_told_of_a_tracking_server_hides_its_token(tmp_path: Path) -> None:
    told: list[str] = []
    tracker = MlflowTracker(
        tracking_uri="http://me:tok-123456@127.0.0.1:1",
        artifact_root=tmp_path,
        definition=definition_from_plain(PLAIN),
        study_uid="0a1b2c3d",
        tags={},
        notify=told.append,
    )
    tracker.interrupt()
    assert tracker.close(timeout_seconds=30.0) != ()
    assert "http://me:***@127.0.0.1:1" in told[0]
    assert "/api/2.0" in told[0]  # MLflow's own text, which quotes the URI
    assert not any("tok-123456" in text for text in told)

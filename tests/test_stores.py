from __future__ import annotations

from pathlib import Path

import pytest

from search.coordinator.stores import storage_uri, store_uris, with_stores
from search.errors import StateError
from search.paths import StateDirectory
from search.storage import StudyStore
from search.study_file import built_in_studies, load_study_file


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StateDirectory:
    monkeypatch.chdir(tmp_path)
    return StateDirectory(root=tmp_path / "home")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("x.journal", "journal://{here}/x.journal"),
        ("logs/x.log", "journal://{here}/logs/x.log"),
        ("journal://x.journal", "journal://{here}/x.journal"),
        ("journal:///a/x.journal", "journal:///a/x.journal"),
        ("sqlite:///o.db", "sqlite:///{here}/o.db"),
        ("sqlite:///o.db?timeout=30", "sqlite:///{here}/o.db?timeout=30"),
        ("sqlite:////a/o.db?timeout=30", "sqlite:////a/o.db?timeout=30"),
        ("postgresql://me@host/optuna", "postgresql://me@host/optuna"),
        (None, "journal://{here}/home/optuna.journal"),
    ],
)
def test_a_storage_means_the_same_from_every_directory(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str | None, meant: str
) -> None:
    uri = storage_uri(given, state)
    assert uri == meant.format(here=tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert storage_uri(uri, state) == uri


@pytest.mark.parametrize("given", ["optuna", "http://host/x", "https://me:secret@host/x.log", "://", "logs/"])
def test_what_names_no_storage_is_refused_with_what_would(state: StateDirectory, given: str) -> None:
    with pytest.raises(StateError, match=r"postgresql://user@host/name.*optuna\.journal") as caught:
        storage_uri(given, state)
    assert "secret" not in str(caught.value)


def test_a_file_name_that_is_too_long_is_told(state: StateDirectory) -> None:
    with pytest.raises(StateError, match="cannot be made: File name too long"):
        StudyStore(storage_uri(f"{'x' * 300}.journal", state), create=True)


def test_the_command_line_comes_before_the_study_file_before_the_default(state: StateDirectory, tmp_path: Path) -> None:
    plain = load_study_file(built_in_studies()["digits"])
    assert store_uris(state, plain).tracking == f"sqlite:///{state.mlflow_database}"
    own = with_stores(plain, storage="sqlite:///own.db", tracking_uri="sqlite:///mlflow.db")
    assert (own.storage, own.tracking_uri) == (f"sqlite:///{tmp_path}/own.db", f"sqlite:///{tmp_path}/mlflow.db")
    uris = store_uris(state, own)
    assert (uris.storage, uris.tracking) == (own.storage, own.tracking_uri)
    uris = store_uris(state, own, storage="x.journal", tracking_uri="runs")
    assert (uris.storage, uris.tracking) == (f"journal://{tmp_path}/x.journal", f"{tmp_path}/runs")


def test_a_store_that_nobody_names_stays_unnamed(state: StateDirectory) -> None:
    plain = load_study_file(built_in_studies()["digits"])
    assert with_stores(plain) == plain

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.uris import absolute_uri, driver_hint, local_path, masked, masked_text


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
        ("sqlite:////home/me@work:1/mlflow.db", "sqlite:////home/me@work:1/mlflow.db"),
        ("/home/me/optuna.journal", "/home/me/optuna.journal"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("http://localhost:5000/runs@2", "http://localhost:5000/runs@2"),
        ("postgresql://me@db/optuna", "postgresql://me@db/optuna"),
        ("postgresql://me:secret@db:5432/optuna", "postgresql://me:***@db:5432/optuna"),
        ("postgresql+psycopg2://me:12345@db/optuna", "postgresql+psycopg2://me:***@db/optuna"),
        ("mysql://me:p@ss:word@db/optuna", "mysql://me:***@db/optuna"),
        ("https://me:12@34@host:80/x", "https://me:***@host:80/x"),
        ("mysql://me:12/34@db/optuna", "mysql://me:***@db/optuna"),
        ("mysql://me:p/w@db/optuna", "mysql://me:***@db/optuna"),
        ("https://:token@host/path", "https://:***@host/path"),
        (
            "postgresql://db/x?user=me&password=secret&sslmode=require",
            "postgresql://db/x?user=me&password=***&sslmode=require",
        ),
        ("https://host/?access_token=abc", "https://host/?access_token=***"),
        ("postgresql://db/x?password=a#b;c&user=me", "postgresql://db/x?password=***&user=me"),
        ("abfs://box/x?account_key=abc&sas_token=def", "abfs://box/x?account_key=***&sas_token=***"),
        ("s3://AKIA:se/cr+et@bucket/x", "s3://AKIA:***@bucket/x"),
        ("simplecache::sftp://me:secret@host/x", "simplecache::sftp://me:***@host/x"),
        ("zip://a/b.zip::https://me:secret@host/x", "zip://a/b.zip::https://me:***@host/x"),
        ("postgresql://me:a::b://c@db/x", "postgresql://me:***@db/x"),
        ("redis://me:@host", "redis://me:***@host"),
    ],
)
def test_passwords_are_masked_and_the_rest_is_readable(uri: str, shown: str) -> None:
    assert masked(uri) == shown


@given(st.text(st.characters(codec="ascii", exclude_characters="*"), min_size=8))
def test_no_password_survives(password: str) -> None:
    shown = masked(f"postgresql://me:{password}@db.example/optuna")
    assert password not in shown.removeprefix("postgresql://me:").removesuffix("@db.example/optuna")
    assert masked(shown) == shown


def test_a_message_that_quotes_the_uri_is_masked() -> None:
    uri = "postgresql://me:secret@db/x"
    assert masked_text(f"cannot reach {uri}: refused", uri) == "cannot reach postgresql://me:***@db/x: refused"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("journal://x.journal", "x.journal"),
        ("journal:///a/what?.journal", "/a/what?.journal"),
        ("sqlite:///o.db", "o.db"),
        ("sqlite:////a/o.db", "/a/o.db"),
        ("sqlite:///o.db?timeout=30", "o.db"),
        ("sqlite+pysqlite:////a/o.db?timeout=30&uri=true", "/a/o.db"),
        ("sqlite:///a#b%20c.db", "a#b%20c.db"),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("sqlite:///", None),
        ("sqlite:///file:o.db?mode=ro&uri=true", None),
        ("postgresql://me@host/optuna", None),
        ("http://host:5000", None),
    ],
)
def test_the_file_that_a_storage_names(uri: str, path: str | None) -> None:
    assert local_path(uri) == (None if path is None else Path(path))


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("sqlite:///rel.db", "sqlite:///{here}/rel.db"),
        ("sqlite+pysqlite:///rel.db?timeout=3", "sqlite+pysqlite:///{here}/rel.db?timeout=3"),
        ("journal://x.journal", "journal://{here}/x.journal"),
        ("runs", "{here}/runs"),
        ("./runs/of/mine", "{here}/runs/of/mine"),
        ("/a/runs", "/a/runs"),
        ("file:runs", "file://{here}/runs"),
    ],
)
def test_a_relative_path_becomes_absolute(uri: str, absolute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    assert absolute_uri(uri) == absolute.format(here="/usr")
    assert absolute_uri(absolute_uri(uri)) == absolute_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        *("http://host:5000", "postgresql://me:secret@host/optuna", "mysql+pymysql://host/o", "sqlite:///:memory:"),
        *("sqlite://", "databricks", "databricks://profile", "file:///a/runs", "sqlite:///file:o.db?uri=true"),
    ],
)
def test_what_is_no_local_path_stays_as_it_is(uri: str) -> None:
    assert absolute_uri(uri) == uri


@pytest.mark.parametrize(
    ("uri", "package"),
    [
        ("postgresql://me@host/optuna", "pip install 'zeroin[postgresql]'"),
        ("postgresql+psycopg2://host/optuna", "pip install psycopg2-binary"),
        ("mysql://host/optuna", "pip install pymysql"),
        ("mysql+pymysql://host/optuna", "pip install pymysql"),
    ],
)
def test_the_driver_that_a_database_needs_is_named(uri: str, package: str) -> None:
    assert package in driver_hint(uri)


@pytest.mark.parametrize("uri", ["sqlite:///o.db", "journal://x.journal", "oracle://host/o", "x.journal"])
def test_no_driver_is_named_where_none_is_known(uri: str) -> None:
    assert driver_hint(uri) == ""

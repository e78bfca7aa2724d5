from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.uris import masked, masked_text


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
        ("redis://me:@host", "redis://me:***@host"),
    ],
)
def test_passwords_are_masked_and_the_rest_is_readable(uri: str, shown: str) -> None:
    assert masked(uri) == shown


@given(st.text(st.characters(codec="ascii", exclude_characters="*"), min_size=8))
def test_no_password_survives(password: str) -> None:
    shown = masked(f"postgresql://me:{password}@db.example/optuna")
    assert password not in shown.removesuffix("@db.example/optuna")
    assert masked(shown) == shown


def test_a_message_that_quotes_the_uri_is_masked() -> None:
    uri = "postgresql://me:secret@db/x"
    assert masked_text(f"cannot reach {uri}: refused", uri) == "cannot reach postgresql://me:***@db/x: refused"

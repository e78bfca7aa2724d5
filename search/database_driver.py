"""Whether Python can reach a database at all: each kind needs a package of its own; and whether a file is one."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from search.errors import StateError
from search.known_secrets import remember
from search.uris import driver_hint, local_path, masked, masked_text

_URL = re.compile(r"[A-Za-z][\w+.-]*://")
_NO_DATABASE = re.compile(r"(journal|https?|file|databricks|databricks-uc|uc)(:|$)", re.IGNORECASE)


def require_driver(uri: str, *, what: str) -> None:
    """Check that the package is installed through which Python reaches the database; opens no connection.

    Args:
        uri: Of a store; what is no database's URL, or names a local file, needs none.
        what: The store, in words for the message (``the Optuna storage``).

    Raises:
        StateError: If it is not, with the command that installs it, or if the URL is none.
    """
    remember(uri)
    if local_path(uri) is not None or _NO_DATABASE.match(uri) or not _URL.match(uri):
        return
    from sqlalchemy.engine import make_url  # MLflow's and Optuna's own; slow to import, and only servers need it
    from sqlalchemy.exc import SQLAlchemyError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        missing = f"{type(error).__name__}: {error}" if error.name is None else f"no module {error.name!r}"
        raise StateError(
            f"{what} {masked(uri)} needs a driver that is not installed ({missing}). {driver_hint(uri)}".rstrip()
        ) from error
    except (SQLAlchemyError, ValueError) as error:
        text = masked_text(str(error), uri)
        raise StateError(
            f"{what} {masked(uri)} cannot be opened: {type(error).__name__}: {text} {driver_hint(uri)}".rstrip()
        ) from error


def has_table(file: Path, table: str) -> bool:
    """Whether a file is an SQLite database with a table of that name; it is not changed, nor made if there is none."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
            return connection.execute(query, (table,)).fetchone() is not None
    except sqlite3.Error:
        return False

"""URIs of stores: the local file that one names, and how it may be shown, which is without its password."""

from __future__ import annotations

import re
from pathlib import Path

_JOURNAL = "journal://"
# SQLAlchemy takes all before the query for the file's name, percent signs and "#" included; a name that begins with
# "file:" is a URI of SQLite's own.
_SQLITE = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?:///)(?P<path>(?!file:)[^?]+)(?P<query>\?.*)?", re.DOTALL)
_FILE = re.compile(r"file:(?!/)(?P<path>.+)", re.DOTALL)
_IN_MEMORY = ":memory:"
_NOT_A_PATH = ("databricks", "databricks-uc", "uc")
"""Words that MLflow takes for a service although they look like a relative path."""

_DRIVERS = {
    "postgresql": "`pip install psycopg2-binary` installs its driver.",
    "postgresql+psycopg2": "`pip install psycopg2-binary` installs its driver.",
    "postgresql+psycopg": "`pip install 'psycopg[binary]'` installs its driver.",
    "postgresql+pg8000": "`pip install pg8000` installs its driver.",
    "postgres": "Write postgresql:// for postgres://; `pip install psycopg2-binary` installs its driver.",
    "mysql": "`pip install pymysql` installs a driver; then write mysql+pymysql:// for mysql://.",
    "mysql+pymysql": "`pip install pymysql` installs its driver.",
    "mysql+mysqldb": "`pip install mysqlclient` installs its driver.",
}

_HIDDEN = "***"
# Between "user:" and the last "@": of the host's part in HTTP; of all in a database's, where SQLAlchemy takes
# unescaped slashes for a part of the password.
_HTTP_PASSWORD = re.compile(r"^(https?://[^:/?#@]*):[^/?#]*@", re.IGNORECASE)
_DATABASE_PASSWORD = re.compile(r"^((?!https?:)[a-z][\w+.-]*://[^:/?#@]*):.*@", re.IGNORECASE | re.DOTALL)
_SECRET_OPTION = re.compile(
    r"(?P<name>[?&;](?:[\w.-]*(?:password|passwd|pwd|token|secret|api_?key|access_?key|signature)|sig))=[^&;#]*",
    re.IGNORECASE,
)


def masked(uri: str) -> str:
    """Return `uri` with its password, and secrets among its options, replaced by ``***``.

    The user's name, host and path stay readable; a plain path comes back as it is.
    """
    for pattern in (_HTTP_PASSWORD, _DATABASE_PASSWORD):
        uri = pattern.sub(rf"\1:{_HIDDEN}@", uri)
    return _SECRET_OPTION.sub(rf"\g<name>={_HIDDEN}", uri)


def masked_text(text: str, uri: str) -> str:
    """Return `text`, such as a library's error message, with every mention of `uri` masked."""
    return text.replace(uri, masked(uri))


def local_path(uri: str) -> Path | None:
    """Return the file that a storage's URI names, or None if it is on a server or in memory.

    Args:
        uri: ``journal://`` and a path, or a database URL; options of SQLite (``?timeout=30``) are no part of the path.
    """
    if uri.startswith(_JOURNAL):
        return Path(uri.removeprefix(_JOURNAL))
    found = _SQLITE.fullmatch(uri)
    return None if found is None or found["path"] == _IN_MEMORY else Path(found["path"])


def absolute_uri(uri: str) -> str:
    """Return the URI with a relative local path made absolute, so that it means the same from every directory.

    Args:
        uri: Of an Optuna storage or an MLflow tracking store, or a plain path; URIs of servers come back as they are,
            and options (``?timeout=30``) stay.
    """
    path = local_path(uri)
    if path is not None:
        if uri.startswith(_JOURNAL):
            return f"{_JOURNAL}{path.absolute()}"
        found = _SQLITE.fullmatch(uri)
        assert found is not None
        return f"{found['scheme']}{path.absolute()}{found['query'] or ''}"
    if found := _FILE.fullmatch(uri):
        return Path(found["path"]).absolute().as_uri()
    if uri in _NOT_A_PATH or re.match(r"[A-Za-z][\w+.-]*:", uri):
        return uri
    return str(Path(uri).absolute())


def driver_hint(uri: str) -> str:
    """Return which package lets Python reach a database, as a sentence; empty for one that needs none, or is unknown.

    Args:
        uri: A database URL (``postgresql://user@host/name``).
    """
    return _DRIVERS.get(uri.partition("://")[0].lower(), "")

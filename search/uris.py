"""URIs of stores: the local file that one names, and how it may be shown, which is without its password."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, unquote_plus

_JOURNAL = "journal://"
_JOURNAL_FILES = (".journal", ".log")
# SQLAlchemy takes all before the query for the file's name, percent signs and "#" included; a name that begins with
# "file:" is a URI of SQLite's own.
_SQLITE = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?:///)(?P<path>(?!file:)[^?]+)(?P<query>\?.*)?", re.DOTALL)
_FILE = re.compile(r"file:(?!/)(?P<path>.+)", re.DOTALL)
_IN_MEMORY = ":memory:"
_NOT_A_PATH = ("databricks", "databricks-uc", "uc")
"""Words that MLflow takes for a service although they look like a relative path."""

_DRIVERS = {
    "postgresql": "`pip install 'zeroin[postgresql]'` installs it.",
    "postgresql+psycopg": "`pip install 'zeroin[postgresql]'` installs it.",
    "postgresql+psycopg2": "`pip install psycopg2-binary` installs it.",
    "postgresql+pg8000": "`pip install pg8000` installs it.",
    "postgres": "Write postgresql:// for postgres://; `pip install 'zeroin[postgresql]'` installs the driver.",
    "mysql": "`pip install pymysql` installs one; then write mysql+pymysql:// for mysql://.",
    "mysql+pymysql": "`pip install pymysql` installs it.",
    "mysql+mysqldb": "`pip install mysqlclient` installs it.",
}

_HIDDEN = "***"
# Between "user:" and the last "@": of the host's part in HTTP, where a name without a password is a token; of all in a
# database's, where SQLAlchemy takes unescaped slashes for a part of the password.
_HTTP_PASSWORD = re.compile(r"^(https?://[^:/?#@]*:)([^/?#]*)@", re.IGNORECASE)
_HTTP_TOKEN = re.compile(r"^(https?://)([^:/?#@]+)@", re.IGNORECASE)
_DATABASE_PASSWORD = re.compile(r"^((?!https?:)[a-z][\w+.-]*://[^:/?#@]*:)(.*)@", re.IGNORECASE | re.DOTALL)
_PASSWORDS = (_HTTP_PASSWORD, _HTTP_TOKEN, _DATABASE_PASSWORD)
# fsspec's chains of file systems (`simplecache::sftp://…`); each of them may have a password.
_CHAINED = re.compile(r"::(?=[a-z][\w+.-]*://)", re.IGNORECASE)
_KEY_NAME = r"(?:api|access|account|secret|private|encryption)[_-]?key"
_SECRET_NAME = rf"(?:[\w.-]*(?:password|passwd|pwd|passphrase|token|secret|{_KEY_NAME}|signature)|sig)"
# Up to the next option: neither "#" nor ";" ends the value for SQLAlchemy.
_SECRET_OPTION = re.compile(rf"(?P<name>[?&;]{_SECRET_NAME})=(?P<secret>[^&]*)", re.IGNORECASE)
# In texts of others: a URL up to where such texts end one, and settings as libpq and Python write them.
_URL_IN_TEXT = re.compile(r"\b[a-z][\w+.-]*://[^\s'\"`<>]+", re.IGNORECASE)
_SETTING_IN_TEXT = re.compile(
    rf"(?P<name>\b{_SECRET_NAME}['\"]?\s*[=:]\s*)(?:'[^']*'|\"[^\"]*\"|[^\s,;&'\")]+)", re.IGNORECASE
)
_HEADER_IN_TEXT = re.compile(
    r"(?P<name>\bauthorization['\"]?\s*[=:]\s*b?['\"]?(?:basic|bearer|token)\s+)[\w+/=.~-]+", re.IGNORECASE
)
_LONG_CHARACTERS = 8
_SHORTEST_PIECE_CHARACTERS = 3

STORAGE_EXPECTED = "a database's URL (postgresql://user@host/name) or a journal file's path (optuna.journal)"


def masked(uri: str) -> str:
    """Return `uri` with its password or token, and secrets among its options, replaced by ``***``.

    The user's name, host and path stay readable; a plain path comes back as it is.
    """
    # All of it first: what looks like a chain may be a part of a database's password.
    uri = "::".join(_without_password(link) for link in _CHAINED.split(_without_password(uri)))
    return _SECRET_OPTION.sub(rf"\g<name>={_HIDDEN}", uri)


def _without_password(uri: str) -> str:
    for pattern in _PASSWORDS:
        uri = pattern.sub(rf"\g<1>{_HIDDEN}@", uri)
    return uri


def is_masked(uri: str) -> bool:
    """Whether a secret of `uri` has been replaced, so that it can be shown and not used."""
    return _HIDDEN in _written_secrets(uri)


def _written_secrets(uri: str) -> list[str]:
    found = [pattern.match(link) for link in {uri, *_CHAINED.split(uri)} for pattern in _PASSWORDS]
    options = [match["secret"] for match in _SECRET_OPTION.finditer(uri)]
    return [match[2] for match in found if match is not None] + options


def secrets_in(uri: str) -> frozenset[str]:
    """Return the secrets that `masked` hides, as written, decoded and encoded; none of a URI that is masked already."""
    secrets: set[str] = set()
    for secret in _written_secrets(uri):
        for decode in (str, unquote, unquote_plus):
            plain = decode(secret)
            # A password with an unescaped delimiter is cut there by whoever complains of it.
            pieces = [piece for piece in re.split(r"[/@:?#&]", plain) if len(piece) >= _SHORTEST_PIECE_CHARACTERS]
            secrets.update((plain, quote(plain), quote(plain, safe=""), quote_plus(plain), *pieces))
    return frozenset(secrets - {"", _HIDDEN, quote(_HIDDEN)})


def masked_text(text: str, *uris: str) -> str:
    """Return `text`, such as a library's error message, without the secrets of `uris` nor any that shows as one.

    Args:
        text: Any text; of other URLs in it, too, the passwords are masked.
        uris: Whose secrets it may hold in any spelling; short ones count as whole words only.
    """
    for uri in uris:
        text = text.replace(uri, masked(uri))
    text = _URL_IN_TEXT.sub(lambda match: masked(match[0]), text)
    text = _HEADER_IN_TEXT.sub(rf"\g<name>{_HIDDEN}", text)
    text = _SETTING_IN_TEXT.sub(rf"\g<name>{_HIDDEN}", text)
    secrets = {secret for uri in uris for secret in secrets_in(uri)}
    for secret in sorted(secrets, key=len, reverse=True):
        bare = re.escape(secret)
        text = re.sub(bare if len(secret) >= _LONG_CHARACTERS else rf"(?<!\w){bare}(?!\w)", lambda _: _HIDDEN, text)
    return text


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


def is_storage(given: str) -> bool:
    """Whether a text can name an Optuna storage: a database's URL, or the path of a journal file."""
    if "://" not in given:
        return given.endswith(_JOURNAL_FILES)
    return re.match(r"(?!https?:)[a-z][\w+.-]*://", given, re.IGNORECASE) is not None


def driver_hint(uri: str) -> str:
    """Return which package lets Python reach a database, as a sentence; empty for one that needs none, or is unknown.

    Args:
        uri: A database URL (``postgresql://user@host/name``).
    """
    return _DRIVERS.get(uri.partition("://")[0].lower(), "")

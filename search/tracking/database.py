"""Create MLflow's database whole or not at all, whoever else does the same at that moment."""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import suppress
from pathlib import Path

from search.uris import local_path

_DATABASE = re.compile(r"(sqlite|postgresql|postgres|mysql|mssql)(\+\w+)?:")
_ABANDONED_SECONDS = 600.0
_LOCK_KEY = int.from_bytes(b"zeroin")  # any number that no other program's locks have
_MIGRATING = threading.Lock()  # alembic keeps the migration under way in module globals


def is_database(tracking_uri: str) -> bool:
    """Whether the URI is a database that MLflow opens itself, not a server."""
    return _DATABASE.match(tracking_uri) is not None


def ensure_database(tracking_uri: str, artifact_root: str) -> None:
    """Create the database's tables if it has none; other URIs are left to MLflow.

    SQLite's schema changes are not transactional as MLflow makes them: a process killed in the 5 to 10 seconds that
    its migrations take leaves a database that never opens again, and two processes break each other's. So the schema
    is made in a file of its own, which appears under the final name in one step; whoever comes second drops theirs.
    PostgreSQL's are transactional, so one after the other is enough there.

    Args:
        tracking_uri: Any tracking URI.
        artifact_root: Where runs outside any study's experiment keep artifacts.

    Raises:
        Exception: What the database's driver raises if the server cannot be reached: at once, where MLflow itself
            would try again for most of an hour without a word.
    """
    target = local_path(tracking_uri)
    if target is not None:
        with _MIGRATING:
            if not target.exists():
                _create(target, artifact_root)
    elif is_database(tracking_uri) and not tracking_uri.startswith("sqlite"):
        with _MIGRATING:
            _create_on_server(tracking_uri, artifact_root)


def _create_on_server(tracking_uri: str, artifact_root: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(tracking_uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # held until the connection closes, however this process ends
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
        SqlAlchemyStore(tracking_uri, artifact_root).engine.dispose()  # type: ignore[no-untyped-call]


def _create(target: Path, artifact_root: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    private = target.with_name(f"{target.name}.creating-{os.getpid()}-{time.time_ns()}")
    try:
        SqlAlchemyStore(f"sqlite:///{private}", artifact_root).engine.dispose()  # type: ignore[no-untyped-call]
        _publish(private, target)
    finally:
        private.unlink(missing_ok=True)


def _publish(private: Path, target: Path) -> None:
    with suppress(FileExistsError):
        try:
            os.link(private, target)  # unlike a rename, never replaces what another process published first
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if not target.exists():
                private.rename(target)


def _remove_abandoned(target: Path) -> None:
    for leftover in target.parent.glob(f"{target.name}.creating-*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_SECONDS:
                leftover.unlink()

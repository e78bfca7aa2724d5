"""Open an Optuna storage so that it can be waited for: which errors pass, and what a broken connection leaves behind.

A write to a database whose answer is lost may have been done or not. Optuna repeats the creation of a trial by itself
then, up to five times, and so makes a trial twice. Errors of the connection are therefore turned, by SQLAlchemy's own
event, into an error that Optuna lets through, and repeating is the caller's, who can look first.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from search.database_driver import require_driver
from search.errors import StateError
from search.journal_file import JournalFile
from search.patience import Patience
from search.uris import local_path, masked, masked_text

_LOCAL_PATIENCE_SECONDS = 60.0
_SERVER_PATIENCE_SECONDS = 900.0
_OPENING_PATIENCE_SECONDS = 4.0

# libpq's: a server whose machine vanished is noticed within half a minute, not after the hours that TCP would wait.
_LIBPQ_DRIVERS = ("psycopg", "psycopg2")
_LIBPQ_OPTIONS = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}


class StorageAwayError(Exception):
    """The connection to the database is lost, refused or in doubt; trying again later may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedStorage:
    """An Optuna storage and how to use it.

    Attributes:
        storage: Optuna's.
        sync: Makes sure that all that was written is on the disk.
        patience: Through which every call should go.
    """

    storage: BaseStorage
    sync: Callable[[], None]
    patience: Patience

    def close(self) -> None:
        """Give the database's connections back."""
        _forget_session(self.storage)
        if isinstance(self.storage, RDBStorage):
            self.storage.engine.dispose()


def open_storage(
    uri: str,
    *,
    patience_seconds: float | None = None,
    notify: Callable[[str], None] = lambda text: None,
    create_tables: bool = True,
) -> OpenedStorage:
    """Open an Optuna storage.

    Args:
        uri: ``journal://`` and the path of a journal file, or a database URL for Optuna's ``RDBStorage``.
        patience_seconds: How long a call is repeated while the storage is locked or away; None for a quarter of an
            hour for a server, a minute for a file.
        notify: Told when the storage is waited for, and when it is back.
        create_tables: Whether a database gets its tables if it has none; else it cannot be opened then.

    Raises:
        StateError: If it cannot be opened; waited for is only another process that makes its tables, some seconds.
    """
    is_file = local_path(uri) is not None
    if patience_seconds is None:
        patience_seconds = _LOCAL_PATIENCE_SECONDS if is_file else _SERVER_PATIENCE_SECONDS
    require_driver(uri, what="the Optuna storage")
    what = f"the Optuna storage {masked(uri)}"

    def unopened(error: Exception) -> StateError:
        cause = error.__cause__ or error  # Optuna's own text guesses at another one
        return StateError(f"{what} cannot be opened: {type(cause).__name__}: {_shown(cause, uri)}")

    opening = Patience(what, may_pass=_is_being_made, patience_seconds=_OPENING_PATIENCE_SECONDS, failure=unopened)
    try:
        storage, sync = opening.call(lambda: _open(uri, create_tables=create_tables))
    except StateError:
        raise
    except Exception as error:  # Optuna lets drivers' errors through, whose base classes depend on the driver
        raise unopened(error) from error
    patience = Patience(
        what,
        may_pass=may_pass,
        patience_seconds=patience_seconds,
        failure=lambda error: StateError(
            f"{what} has not answered for {patience_seconds:.0f} s: {_shown(error.__cause__ or error, uri)}."
        ),
        before_repeating=lambda: _forget_session(storage),
        notify=notify,
    )
    return OpenedStorage(storage=storage, sync=sync, patience=patience)


def may_pass(error: BaseException) -> bool:
    """Whether a storage's error may go away by itself: the database is locked, restarts or cannot be reached.

    Args:
        error: With its causes, among which is what the database's driver raised.
    """
    each: BaseException | None = error
    while each is not None:
        if isinstance(
            each, StorageAwayError | OperationalError | InterfaceError | PendingRollbackError | PoolTimeoutError
        ):
            return True
        if isinstance(each, DBAPIError) and each.connection_invalidated:
            return True
        each = each.__cause__
    return False


def _open(uri: str, *, create_tables: bool) -> tuple[BaseStorage, Callable[[], None]]:
    if uri.startswith("journal://"):
        journal = JournalFile(Path(uri.removeprefix("journal://")))
        return JournalStorage(journal), journal.sync
    storage = RDBStorage(uri, engine_kwargs=_engine_options(uri), skip_table_creation=not create_tables)
    if local_path(uri) is None:
        event.listen(storage.engine, "handle_error", _tell_apart)
    return storage, _nothing  # a database commits


def _is_being_made(error: Exception) -> bool:
    """Whether another process may be making the tables at this moment."""
    return isinstance(error, ProgrammingError | IntegrityError)


def _engine_options(uri: str) -> dict[str, Any]:
    if local_path(uri) is not None:
        return {}
    url = make_url(uri)
    if url.get_driver_name() not in _LIBPQ_DRIVERS or not url.drivername.startswith("postgresql"):
        return {"pool_pre_ping": True}
    given = {name: value for name, value in _LIBPQ_OPTIONS.items() if name not in url.query}
    return {"pool_pre_ping": True, "connect_args": given}


def _tell_apart(context: ExceptionContext) -> None:
    """Let an error of the connection through Optuna, which would else repeat what may have been done."""
    if context.is_pre_ping:  # SQLAlchemy's own, which opens another connection then
        return
    error = context.sqlalchemy_exception
    if context.is_disconnect or isinstance(error, OperationalError | InterfaceError):
        raise StorageAwayError(str(context.original_exception).strip() or "no answer") from error


def _shown(error: BaseException, uri: str) -> str:
    """Return an error's text on one line, without secrets and without SQLAlchemy's link to its handbook."""
    lines = masked_text(str(error), uri).splitlines()
    return " ".join(line.strip() for line in lines if line.strip() and not line.startswith("(Background on"))


def _forget_session(storage: BaseStorage) -> None:
    with suppress(Exception):  # one that is broken is dropped all the same
        storage.remove_session()


def _nothing() -> None:
    """Do nothing."""

"""Keep MLflow quiet where it works for us: no telemetry, no lines on the user's terminal."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow's own 7 retries with back-off keep one call busy for minutes; we retry on our own, in smaller bites.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_LOGGERS = ("mlflow", "alembic", "sqlalchemy.engine")


def prepare_environment() -> None:
    """Set MLflow's documented environment variables, for this process, where the user has not set them."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def quiet_environment() -> dict[str, str]:
    """Return an environment for a process of MLflow's: this process's, with telemetry off unless the user set it."""
    return {**_ENVIRONMENT, **os.environ}


def silence_import_of_pyfunc() -> None:
    """Ignore from now on what MLflow warns of in its own code when ``mlflow.pyfunc`` is imported, and nothing else.

    For good: `warnings.catch_warnings` is not for one thread of several.
    """
    warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)


@contextmanager
def silenced_thread() -> Iterator[None]:
    """Drop what the calling thread logs through MLflow's handlers; other threads and loggers are left alone.

    MLflow must have been imported, since that installs the handlers. What goes wrong comes as an exception anyway.
    """
    thread = threading.get_ident()

    def is_foreign(record: logging.LogRecord) -> bool:
        return record.thread != thread

    handlers = {handler for name in _LOGGERS for handler in logging.getLogger(name).handlers}
    for handler in handlers:
        handler.addFilter(is_foreign)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_foreign)

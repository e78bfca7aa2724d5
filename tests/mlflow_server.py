"""MLflow's tracking server as a team runs it: a process of its own, which also keeps the artifacts and can crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from command_line import free_port

_START_SECONDS = 90.0


class MlflowServer:
    """A server on a free port of 127.0.0.1.

    Args:
        backend: URI of its database.
        directory: Where its artifacts and its log are.
    """

    def __init__(self, backend: str, directory: Path) -> None:
        self._backend = backend
        self._directory = directory
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)),
                    *("--workers", "1", "--artifacts-destination", str(self._directory / "artifacts")),
                ],
                env={
                    **os.environ,
                    "MLFLOW_BACKEND_STORE_URI": self._backend,
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                },
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until_healthy(self.address, self._process, self._directory / "server.log")

    @property
    def process_group(self) -> int:
        """What a crash kills."""
        assert self._process is not None
        return self._process.pid

    def crash(self) -> None:
        """End it without a warning; it may have ended already."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30.0)


def wait_until_healthy(address: str, process: subprocess.Popen[Any], log: Path) -> None:
    """Wait until MLflow's server answers.

    Raises:
        AssertionError: With its log, if it ends, or is too late.
    """
    deadline = time.monotonic() + _START_SECONDS
    while not is_healthy(address):
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def is_healthy(address: str) -> bool:
    """Whether MLflow's server answers."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def mlflow_serving(backend: str, directory: Path) -> Iterator[MlflowServer]:
    """A server that runs, and is gone at the end."""
    directory.mkdir(parents=True)
    server = MlflowServer(backend, directory)
    server.start()
    try:
        yield server
    finally:
        server.crash()

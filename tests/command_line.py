"""The command line as a user has it, in processes of its own or in this one, without a GPU."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from search.cli.main import exit_code_of

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_SECONDS = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """Runs ``python -m search`` in `directory`.

    Attributes:
        directory: The working directory; the state directory is ``state`` in it.
    """

    directory: Path

    @property
    def home(self) -> Path:
        """The state directory, which need not exist."""
        return self.directory / "state"

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment of every process."""
        return {
            **os.environ,
            "ZEROIN_HOME": str(self.home),
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "120",
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            _command(arguments),
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

    def called(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in this process, which has imported already what a process of its own would first have to."""
        with (
            pytest.MonkeyPatch.context() as patch,
            _text() as output,
            _text() as errors,
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            patch.chdir(self.directory)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            exit_code = exit_code_of(list(arguments))
            return subprocess.CompletedProcess(arguments, exit_code, _written(output), _written(errors))

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start a command; when the block ends, so does the process with all of its children."""
        process = subprocess.Popen(
            _command(arguments),
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()  # its workers end themselves
            process.communicate()


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return all living descendants of a process."""
    return psutil.Process(process.pid).children(recursive=True)


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and that nobody has asked about yet does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def of_workers(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those of them that run a worker; one that ends meanwhile has no command line any more."""
    return [each for each in processes if "search.worker" in _command_line(each)]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    """Return the addresses and ports that a process or a descendant of it listens on."""
    connections = [each for one in (process, *process.children(recursive=True)) for each in one.net_connections()]
    return {(str(each.laddr.ip), each.laddr.port) for each in connections if each.status == psutil.CONN_LISTEN}


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def interrupt(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C."""
    process.send_signal(signal.SIGINT)


def wait_for(condition: Callable[[], bool], *, seconds: float = 120.0) -> None:
    """Wait for what another process does.

    Raises:
        AssertionError: If it does not happen in that time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.05)


def _text() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8")


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()


def _command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "search", *arguments]

"""A process at the other end of a line: what it says comes from a socket, what it prints goes to a file."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

_OUTPUT_TAIL_BYTES = 8000
"""Enough for the stack of a training inside Lightning, which ends what a hung worker prints."""


class ChildProcess:
    """A module run as a program in a session of its own, so that a terminal's Ctrl-C does not reach it.

    The program gets its end of the line as ``--fd``. That end closes when this process dies, however it dies.

    Args:
        module: The module.
        arguments: Further arguments.
        environment: All of its variables.
        directory: Where it runs, None for where this process does.
        inherited: Descriptors that it has too.

    Attributes:
        popen: The process.
        socket: This end of the line, to be waited for.
        has_hung_up: Whether the other end is known to be closed.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: str | None = None,
        inherited: Sequence[int] = (),
    ) -> None:
        self.socket, theirs = socket.socketpair()
        self.has_hung_up = False
        self._output = tempfile.TemporaryFile("a+b")  # noqa: SIM115  (lives as long as the process)
        self._received = b""
        self.popen = subprocess.Popen(
            [sys.executable, "-P", "-m", module, "--fd", str(theirs.fileno()), *arguments],
            cwd=directory,
            env=environment,
            pass_fds=[theirs.fileno(), *inherited],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        theirs.close()

    def send(self, line: bytes) -> None:
        """Send a line; one to a process that is gone is dropped."""
        with contextlib.suppress(OSError):
            self.socket.sendall(line)

    def receive(self) -> list[bytes]:
        """Wait for something and return the lines that are whole by now."""
        try:
            chunk = self.socket.recv(1 << 20)
        except ConnectionError:
            chunk = b""
        self.has_hung_up = not chunk
        *lines, self._received = (self._received + chunk).split(b"\n")
        return lines

    def kill(self) -> None:
        """Kill it with all of its children."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)

    def output(self) -> str:
        """Return the end of what it has printed."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - 4 * _OUTPUT_TAIL_BYTES))
        lines = self._output.read().decode(errors="replace").splitlines()
        # Pages of names that Python writes under the traceback of a crash.
        told = "\n".join(line for line in lines if not line.startswith("Extension modules: "))
        return told.strip()[-_OUTPUT_TAIL_BYTES:]

    def close(self) -> None:
        """Hang up, and forget what it has printed."""
        self.socket.close()
        self._output.close()

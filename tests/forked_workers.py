"""Worker processes forked from one that has imported torch and Lightning already, which takes a new one seconds.

What is forked runs ``python -m search.worker`` from its first line on, in a session of its own, with the arguments,
variables, working directory, output and descriptors that it would have been started with, and it ends as it would have.
Not so: ``/proc/<pid>/environ`` and ``cmdline`` are those of the template, and memory is shared with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import runpy
import select
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import psutil

ROOT = Path(__file__).resolve().parents[1]
_FORKS = sys.platform == "linux"
"""Elsewhere workers are started as always: not every library outlives a fork there, and there are no pidfds."""

_MODULE = "search.worker"
_MOST_BYTES = 1 << 20
_MOST_DESCRIPTORS = 8
_NUMBER_BYTES = 4
_FIRST_FREE_DESCRIPTOR = 3


class ForkedProcess:
    """As much of a ``subprocess.Popen`` as there is use for; the template tells how it ended.

    Args:
        pid: Of the process.
        status: A socket to which the template writes the return code.
    """

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Return how it ended, None while it lives."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: If it has not ended in that time.
        """
        if self.returncode is None:
            ready, _, _ = select.select([self._status], [], [], timeout)
            if not ready:
                raise subprocess.TimeoutExpired(_MODULE, timeout or 0.0)
            self.returncode = _as_number(self._status.recv(_NUMBER_BYTES))
            self._status.close()
        return self.returncode


template_pids: set[int] = set()
"""Children of this process that are no test's own."""

_environments: dict[int, dict[str, str]] = {}


def environment_of(process: psutil.Process) -> Mapping[str, str]:
    """Return the variables that a living process was started with, forked or not."""
    return _environments.get(process.pid) or process.environ()


class WorkerTemplate:
    """The process to fork from, a child of this one; what is forked is a child of it."""

    def __init__(self) -> None:
        if not _FORKS:
            return
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        template_pids.add(self._process.pid)

    def popen(self, command: Sequence[str], **options: Any) -> Any:
        """Do what ``subprocess.Popen`` does, faster if the command is a worker."""
        if not _FORKS or tuple(command[:4]) != (sys.executable, "-P", "-m", _MODULE):
            return subprocess.Popen(command, **options)
        inherited = list(options["pass_fds"])
        fixed = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "start_new_session": True}
        assert {name: options[name] for name in fixed} == fixed
        assert options.keys() <= {*fixed, "pass_fds", "stdout", "env", "cwd"}
        order = {
            "arguments": list(command[4:]),
            "environment": options["env"],
            "directory": options.get("cwd") or os.getcwd(),  # noqa: PTH109
            "descriptors": inherited,
        }
        status, theirs = socket.socketpair()
        with theirs:
            descriptors = [theirs.fileno(), options["stdout"].fileno(), *inherited]
            socket.send_fds(self._line, [json.dumps(order).encode()], descriptors)
        pid = _as_number(status.recv(_NUMBER_BYTES))
        _environments[pid] = options["env"]
        return ForkedProcess(pid, status)

    def close(self) -> None:
        """End it."""
        if not _FORKS:
            return
        self._line.close()
        assert self._process.wait(30.0) == 0
        template_pids.discard(self._process.pid)

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Have engines in this process fork their workers in the block."""
        with mock.patch("search.engines.child_process.subprocess", _Subprocess(self.popen)):
            yield


class _Subprocess(ModuleType):
    """``subprocess`` with another ``Popen``, for one module."""

    def __init__(self, popen: Callable[..., Any]) -> None:
        super().__init__("subprocess")
        vars(self).update(vars(subprocess))
        self.Popen = popen


def _order_of_a_child(line: socket.socket) -> dict[str, Any] | None:
    """Fork a child for each order, and tell how each ended.

    Returns:
        In each child its order; in the template None, when nobody can order anything any more.
    """
    selector = selectors.DefaultSelector()
    selector.register(line, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is not None:
                selector.unregister(key.fd)
                os.close(key.fd)
                _tell_end(*key.data)
                continue
            text, descriptors, _, _ = socket.recv_fds(line, _MOST_BYTES, _MOST_DESCRIPTORS)
            if not text:
                return None
            status, *others = descriptors
            pid = os.fork()
            if not pid:
                selector.close()
                line.close()
                order: dict[str, Any] = json.loads(text)
                _take_on(order, status, others)
                return order
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, status))
            for descriptor in others:
                os.close(descriptor)


def _tell_end(pid: int, status: int) -> None:
    _, how = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):  # nobody wants to know
        os.write(status, _as_bytes(os.waitstatus_to_exitcode(how)))
    os.close(status)


def _take_on(order: Mapping[str, Any], status: int, others: Sequence[int]) -> None:
    """Have the descriptors, the session, the directory and the variables of a process that was started so."""
    os.setsid()
    os.write(status, _as_bytes(os.getpid()))
    output, *descriptors = others
    os.dup2(output, 1)
    os.dup2(output, 2)
    above = max(order["descriptors"]) + 1
    # Out of each other's way first.
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for descriptor in descriptors]
    os.closerange(_FIRST_FREE_DESCRIPTOR, above)
    for descriptor, wanted in zip(moved, order["descriptors"], strict=True):
        os.dup2(descriptor, wanted)
    os.closerange(above, os.sysconf("SC_OPEN_MAX"))
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.path.remove(str(ROOT))
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = [_MODULE, *order["arguments"]]


def _as_bytes(number: int) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "little", signed=True)


def _as_number(said: bytes) -> int:
    assert said, "the template is gone"
    return int.from_bytes(said, "little", signed=True)


if __name__ == "__main__":
    import_module(f"{_MODULE}.loop")
    if _order_of_a_child(socket.socket(fileno=int(sys.argv[1]))) is not None:
        runpy.run_module(_MODULE, run_name="__main__", alter_sys=True)

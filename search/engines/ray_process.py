"""The engine's end of the line to the process that speaks to Ray."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from search.engines.ray_frames import FromDriver, ToDriver, decode_frame, encode_frame

_OUTPUT_TAIL_BYTES = 4000


class DriverProcess:
    """Starts the driver, which runs away from the terminal and from the user's modules, and exchanges frames with it.

    It ends itself, with all of its actors, when its engine is gone.

    Args:
        address: ``host:port``, ``auto`` or ``local``.
        options: Further command-line options, without their dashes.
    """

    def __init__(self, *, address: str, options: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self._received = bytearray()
        self.is_connected = True
        command = [sys.executable, "-P", "-m", "search.engines.ray_driver", "--fd", str(theirs.fileno())]
        for name, value in {"address": address, **options}.items():
            command += [f"--{name}", value]
        self._popen = subprocess.Popen(
            command,
            # Ray puts the driver's directory first on the import path of every actor.
            cwd="/",
            env=_environment(),
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        theirs.close()
        self._selector = selectors.DefaultSelector()
        self._selector.register(ours, selectors.EVENT_READ)

    def send(self, frame: ToDriver) -> None:
        """Send a frame; one to a driver that is gone is dropped."""
        with contextlib.suppress(OSError):
            self._socket.sendall(encode_frame(frame))

    def receive(self, *, timeout_seconds: float) -> Sequence[FromDriver]:
        """Wait for frames at most that long; `is_connected` is False once there will be no more."""
        if not self.is_connected:
            time.sleep(timeout_seconds)
            return ()
        if not self._selector.select(timeout_seconds):
            return ()
        try:
            chunk = self._socket.recv(1 << 20)
        except ConnectionError:
            chunk = b""
        self.is_connected = bool(chunk)
        self._received += chunk
        *lines, rest = bytes(self._received).split(b"\n")
        self._received[:] = rest
        frames: list[FromDriver] = []
        for line in lines:
            frame = decode_frame(line)
            assert isinstance(frame, FromDriver)
            frames.append(frame)
        return frames

    def end(self, *, timeout_seconds: float) -> str:
        """Hang up, wait that long for the process to end, then kill it; returns the end of what it printed."""
        if self._output.closed:
            return ""
        self.is_connected = False
        self._selector.close()
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout_seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        with self._output:
            size = self._output.seek(0, os.SEEK_END)
            self._output.seek(max(0, size - _OUTPUT_TAIL_BYTES))
            return self._output.read().decode(errors="replace").strip()


def _environment() -> dict[str, str]:
    return {**os.environ, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

"""The engine's end of the line to the process that speaks to Ray."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence

from search.engines.child_process import ChildProcess
from search.engines.ray_frames import FromDriver, ToDriver, decode_frame, encode_frame


class DriverProcess:
    """Starts the driver, which runs away from the terminal and from the user's modules, and exchanges frames with it.

    It ends itself, with all of its actors, when its engine is gone.

    Args:
        address: ``host:port``, ``auto`` or ``local``.
        options: Further command-line options, without their dashes.
    """

    def __init__(self, *, address: str, options: Mapping[str, str]) -> None:
        self.is_connected = True
        self._child = ChildProcess(
            "search.engines.ray_driver",
            [part for name, value in {"address": address, **options}.items() for part in (f"--{name}", value)],
            # Ray puts the driver's directory first on the import path of every actor.
            directory="/",
            environment={**os.environ, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._child.socket, selectors.EVENT_READ)

    def send(self, frame: ToDriver) -> None:
        """Send a frame; one to a driver that is gone is dropped."""
        self._child.send(encode_frame(frame))

    def receive(self, *, timeout_seconds: float) -> Sequence[FromDriver]:
        """Wait for frames at most that long; `is_connected` is False once there will be no more."""
        if not self.is_connected:
            time.sleep(timeout_seconds)
            return ()
        if not self._selector.select(timeout_seconds):
            return ()
        lines = self._child.receive()
        self.is_connected = not self._child.has_hung_up
        frames: list[FromDriver] = []
        for line in lines:
            frame = decode_frame(line)
            assert isinstance(frame, FromDriver)
            frames.append(frame)
        return frames

    def end(self, *, timeout_seconds: float) -> str:
        """Hang up, wait that long for the process to end, then kill it; returns the end of what it printed."""
        if self._child.socket.fileno() < 0:
            return ""  # it has been ended
        self.is_connected = False
        self._selector.close()
        self._child.socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.popen.wait(timeout_seconds)
        self._child.kill()
        self._child.popen.wait()
        output = self._child.output()
        self._child.close()
        return output

"""Ctrl-C and SIGTERM: the first asks for a clean stop, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Whether the user wants the study to stop.

    Attributes:
        requested: Set by the first signal; the coordinator pauses the trials at the end of their epochs.
    """

    def __init__(self) -> None:
        self.requested = False

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Catch SIGINT and SIGTERM inside the block (in the main thread; elsewhere nothing is caught)."""
    state = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    previous = {number: signal.signal(number, state._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield state
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

"""The worker's end of the line to its coordinator: one socket, a thread that reads and a thread that shows life."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from typing import NoReturn, Protocol, TypeAlias

from search.messages import (
    Action,
    Decision,
    FromWorker,
    Heartbeat,
    Inspect,
    LookAssignment,
    PackageAssignment,
    Shutdown,
    TestAssignment,
    TrialAssignment,
    decode,
    encode,
)

HEARTBEAT_SECONDS = 1.0

Order: TypeAlias = Inspect | TrialAssignment | TestAssignment | PackageAssignment | LookAssignment | Shutdown


class Coordinator(Protocol):
    """What a running trial needs of its coordinator."""

    def send(self, message: FromWorker) -> None:
        """Send a message."""

    def wait_for_decision(self, trial_key: str, epoch: int) -> Action:
        """Wait for the answer to the report of that epoch."""


class Connection:
    """A `Coordinator` behind a socket. When the other end closes, this process and all of its children are killed.

    Args:
        descriptor: Of a connected stream socket; owned from now on.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(True)
        # Loader workers must not hold the line open after this process is gone.
        self._socket.set_inheritable(False)
        os.register_at_fork(after_in_child=self._let_go_in_child)
        self._sending = threading.Lock()
        self._is_leaving = False
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._decisions: queue.SimpleQueue[Decision] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="coordinator-reader", daemon=True).start()

    def _let_go_in_child(self) -> None:
        # `close` would wait for the reader's file, whose thread a child does not have.
        descriptor = self._socket.detach()
        if descriptor >= 0:
            os.close(descriptor)

    def start_heartbeat(self) -> None:
        """Begin to show life every second."""
        threading.Thread(target=self._beat, name="coordinator-heartbeat", daemon=True).start()

    def send(self, message: FromWorker) -> None:
        """Send a message; a coordinator that is gone ends this process."""
        line = encode(message)
        try:
            with self._sending:
                self._socket.sendall(line)
        except OSError:
            if not self._is_leaving:
                end_process_group()

    def leave(self) -> None:
        """Hang up: this process is about to end by itself, and is killed if it does not (a thread that stays, say)."""
        self._is_leaving = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def next_order(self) -> Order:
        """Wait for something to do."""
        return self._orders.get()

    def wait_for_decision(self, trial_key: str, epoch: int) -> Action:
        """Wait for the answer to the report of that epoch; answers to other reports are dropped."""
        while True:
            decision = self._decisions.get()
            if (decision.trial_key, decision.epoch) == (trial_key, epoch):
                return decision.action

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as lines:
                for line in lines:
                    message = decode(line)
                    if isinstance(message, Decision):
                        self._decisions.put(message)
                    elif isinstance(message, Order):
                        self._orders.put(message)
        except OSError:
            pass
        except (ValueError, TypeError):
            # A coordinator of another version, or half a line of one that died while it sent.
            traceback.print_exc(file=sys.stderr)
        if not self._is_leaving:
            end_process_group()

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(HEARTBEAT_SECONDS):
            self.send(Heartbeat())


def end_process_group() -> NoReturn:
    """Kill this process and, if it leads its own group, its children, at once: nobody is left to work for."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL returned")

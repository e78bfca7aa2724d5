"""The life of a worker: say that it is ready, then work off what the coordinator sends, one thing at a time."""

from __future__ import annotations

import dataclasses
import faulthandler
import gc
import os
import platform
import signal
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from search.messages import (
    FromWorker,
    Inspect,
    LookAssignment,
    PackageAssignment,
    Shutdown,
    TestAssignment,
    TrialAssignment,
    TrialEnded,
    WorkerReady,
)
from search.package_version import zeroin_version
from search.worker.connection import Connection
from search.worker.inspection import inspect_assembly
from search.worker.looking import look_inside
from search.worker.memory import release_cached_memory, resident_bytes
from search.worker.output_file import bound_output, forgiving_streams, output_to
from search.worker.packaging import package_model
from search.worker.process_group import host_rendezvous
from search.worker.test_reading import read_test
from search.worker.trainer_settings import device_in_words
from search.worker.training import train
from search.worker.trial_place import OUTPUT_NAME, is_missing, told_as_missing, trial_place
from search.worker.watchdog import Watchdog, end_hung_worker


def run(connection: Connection, *, n_threads: int, listen_descriptor: int | None = None) -> None:
    """Work until `Shutdown`.

    Args:
        connection: To the coordinator.
        n_threads: Threads of torch's CPU operations, >= 1.
        listen_descriptor: Of a listening socket on which the other ranks of the group find rank 0.
    """
    _prepare_process(n_threads)
    host_rendezvous(listen_descriptor)
    connection.start_heartbeat()
    connection.send(
        WorkerReady(
            pid=os.getpid(),
            device=device_in_words(),
            versions={
                "zeroin": zeroin_version(),
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "pytorch-lightning", "torchmetrics", "numpy")},
            },
        )
    )
    while not isinstance(order := connection.next_order(), Shutdown):
        if isinstance(order, TrialAssignment):
            answer = _trial_carried_out(order, connection)
        else:
            # Left where the engine keeps it, and shows it if this process is lost: a dry run has no file of its own.
            answer = _carried_out(order, connection)
        del order
        _show_crashes()
        # A trainer, its loops and its module refer to each other: their memory would stay until some later trial.
        gc.collect()
        release_cached_memory()
        if isinstance(answer, TrialEnded):
            answer = dataclasses.replace(answer, resident_bytes=resident_bytes())
        connection.send(answer)
    connection.leave()


def _trial_carried_out(order: TrialAssignment, connection: Connection) -> FromWorker:
    with trial_place(order) as placed:
        if is_missing(placed):
            return told_as_missing(placed)
        with output_to(Path(placed.directory) / OUTPUT_NAME):
            return train(placed, connection)


def _carried_out(
    order: Inspect | TestAssignment | PackageAssignment | LookAssignment, connection: Connection
) -> FromWorker:
    watchdog = Watchdog(
        limit_seconds=order.hang_timeout_seconds,
        on_hang=lambda seconds: end_hung_worker(connection, seconds, where="its stack is among what it printed"),
    )
    with watchdog.watching():
        if isinstance(order, Inspect):
            return inspect_assembly(order, show_life=watchdog.show_life)
        if isinstance(order, TestAssignment):
            return read_test(order, callbacks=(watchdog,))
        if isinstance(order, LookAssignment):
            return look_inside(order, callbacks=(watchdog,))
        return package_model(order, callbacks=(watchdog,))


def _prepare_process(n_threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the coordinator's to handle
    _show_crashes()
    torch.set_num_threads(n_threads)
    sys.stdout, sys.stderr = forgiving_streams()
    bound_output()
    # What is imported now stays: the collector need not look at it after every trial.
    gc.collect()
    gc.freeze()


def _show_crashes() -> None:
    """Have a traceback written to descriptor 2, wherever that goes at the time, when this process crashes.

    Once more after every trainer: when one ends, it sets all signals back to what Python knows of, which is not this.
    """
    faulthandler.disable()
    faulthandler.enable()

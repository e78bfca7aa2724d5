"""Which Ray cluster the driver is connected to: one that is there, or one of its own that is nobody else's."""

from __future__ import annotations

import logging
import os
import secrets
import select
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray

from search.engines.ray_frames import ClusterFound, NodeResources
from search.usable_cores import usable_cores

LOCAL = "local"
"""Address of a cluster of one's own."""

_DIRECTORY_PREFIX = "zeroin-ray-"
_MOST_OWN_CPUS = 8
_OWN_OBJECT_STORE_BYTES = 100 << 20  # messages are small; Ray wants that much at least
_PROBE_SECONDS = 10.0
_RETRY_SECONDS = 2.0


def connect(address: str, *, own_cpus: int, patience_seconds: float, engine: socket.socket) -> ClusterFound:
    """Connect to the cluster, or start one on this machine; for the latter, this program may be run anew.

    Args:
        address: ``host:port``, ``auto`` or `LOCAL`.
        own_cpus: CPUs of a cluster that is started here, at least; 0 for those that there are.
        patience_seconds: How long to try again, for as long as the engine is there.
        engine: The line to it.

    Raises:
        Exception: Whatever Ray raises if there is no cluster.
    """
    if address == LOCAL and not own_directory():
        _start_over_with_a_cluster_of_ones_own()
    deadline = time.monotonic() + patience_seconds
    engine_left = select.poll()
    engine_left.register(engine, 0)  # what it sends meanwhile is read later
    while True:
        try:
            _initialize(address, own_cpus=own_cpus)
            break
        except OSError:  # refused, no such host, no answer, or Ray's own ConnectionError
            if address == "auto":
                _start_over_with_a_cluster_of_ones_own()
            if time.monotonic() > deadline or engine_left.poll(_RETRY_SECONDS * 1000):
                raise
    return ClusterFound(address=ray.get_runtime_context().gcs_address, is_own=address == LOCAL, nodes=living_nodes())


def living_nodes() -> tuple[NodeResources, ...]:
    """Return what the living nodes of the cluster offer."""
    return tuple(
        NodeResources(n_gpus=node["Resources"].get("GPU", 0.0), n_cpus=node["Resources"].get("CPU", 0.0))
        for node in ray.nodes()
        if node["Alive"]
    )


def _initialize(address: str, *, own_cpus: int) -> None:
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        # Ray itself would try for two minutes.
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        options |= {
            "include_dashboard": False,
            "num_cpus": max(own_cpus, min(usable_cores(), _MOST_OWN_CPUS)),
            "object_store_memory": _OWN_OBJECT_STORE_BYTES,
        }
    ray.init(**options)


def _start_over_with_a_cluster_of_ones_own() -> None:
    """Run this program anew with the variables that make a cluster private: Ray reads them when it is imported.

    Without the first one, Ray listens on all interfaces; without a token, every user of the machine could give it code
    to run.
    """
    private = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": tempfile.mkdtemp(prefix=_DIRECTORY_PREFIX),
    }
    command = [sys.executable, "-P", "-m", "search.engines.ray_driver", *sys.argv[1:], "--address", LOCAL]
    os.execve(sys.executable, command, {**os.environ, **private})


def own_directory() -> str:
    """Return where a cluster of this process's own keeps its files; empty if there is none."""
    directory = os.environ.get("RAY_TMPDIR", "")
    return directory if Path(directory).name.startswith(_DIRECTORY_PREFIX) else ""

"""The process that speaks to Ray for `RayEngine`: ``python -P -m search.engines.ray_driver --fd N``.

Ray prints what it likes, installs signal handlers, and ends its process when the head of the cluster is gone. In a
process of its own it can do so without harm to the coordinator, which then starts another one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import threading
from typing import Any

import ray

from search.engines.ray_connection import connect, own_directory
from search.engines.ray_frames import ClusterMissing, encode_frame
from search.engines.ray_hosts import Hosts

_LEAVE_SECONDS = 10.0


def main() -> None:
    """Connect to the cluster, or start one on this machine, and serve the engine until it closes or is gone."""
    arguments = _parse()
    connection = socket.socket(fileno=arguments.fd)
    try:
        found = connect(
            arguments.address,
            own_cpus=arguments.own_cpus,
            patience_seconds=arguments.patience_seconds,
            engine=connection,
        )
    except Exception as error:  # whatever Ray raises, the engine is told
        connection.sendall(encode_frame(ClusterMissing(reason=f"{type(error).__name__}: {error}".strip())))
        return
    connection.sendall(encode_frame(found))
    hosts = Hosts(connection, arguments, actor=_CheckedHost)
    try:
        hosts.run()
    finally:
        _leave(hosts)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m search.engines.ray_driver")
    parser.add_argument("--fd", type=int, required=True, help="descriptor of a connected stream socket")
    parser.add_argument("--address", required=True, help="host:port, auto, or local")
    parser.add_argument("--own-cpus", type=int, default=0, help="CPUs of a cluster that is started here")
    parser.add_argument("--threads", required=True, help="OMP_NUM_THREADS of the workers")
    parser.add_argument("--working-directory", required=True)
    parser.add_argument("--heartbeat-timeout-seconds", type=float, required=True)
    parser.add_argument("--start-timeout-seconds", type=float, required=True)
    parser.add_argument("--patience-seconds", type=float, default=0.0, help="how long to try to connect again")
    return parser.parse_args()


class _CheckedHost:
    """A `search.engines.ray_host.WorkerHost`, on a node that has the coordinator's version of zeroin.

    What stands in the main program is sent to the node as code: so it can tell there that zeroin is missing.
    """

    def __init__(self, *, version: str, **arguments: Any) -> None:
        import socket

        self._host: Any = None
        self._answer: dict[str, Any] = {"host": socket.gethostname()}
        try:
            from search.package_version import zeroin_version

            found = f"zeroin {zeroin_version()}"
        except ImportError as error:
            found = f"no zeroin that can be imported ({error})"
        if found == f"zeroin {version}":
            from search.engines.ray_host import WorkerHost

            self._host = WorkerHost(**arguments)
        else:
            self._answer["refused"] = (
                f"node {socket.gethostname()} has {found}, the coordinator {version}: install the same version on "
                "every node of the cluster"
            )

    def events(self, timeout_seconds: float) -> Any:
        """Return what the host says, or that there is none."""
        return self._answer if self._host is None else self._host.events(timeout_seconds)

    def send(self, index: int, line: str) -> None:
        """Hand on an encoded message."""
        if self._host is not None:
            self._host.send(index, line)

    def close(self) -> None:
        """Kill the worker."""
        if self._host is not None:
            self._host.close()


def _leave(hosts: Hosts) -> None:
    ending = threading.Timer(_LEAVE_SECONDS, os.kill, (os.getpid(), signal.SIGKILL))
    ending.daemon = True
    ending.start()
    try:
        hosts.close()
        ray.shutdown()
    finally:
        if own_directory():
            shutil.rmtree(own_directory(), ignore_errors=True)


if __name__ == "__main__":
    main()

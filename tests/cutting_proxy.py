"""A network between a client and a PostgreSQL server that loses answers: the deed is done, and nobody is told."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_CHUNK_BYTES = 1 << 16


class CuttingProxy:
    """Passes connections on to a port, and cuts one after a COMMIT was answered, before the client hears of it.

    Args:
        target: Port on 127.0.0.1.
        cuts: Whether to cut at this COMMIT, counted from 1 over all connections.
    """

    def __init__(self, target: int, *, cuts: Callable[[int], bool]) -> None:
        self._target = target
        self._cuts = cuts
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.n_commits = 0
        self.n_cuts = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with (
            client,
            socket.create_connection(("127.0.0.1", self._target)) as server,
            selectors.DefaultSelector() as selector,
            suppress(OSError),
        ):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    source = client if key.fileobj is client else server
                    content = source.recv(_CHUNK_BYTES)
                    if not content:
                        return
                    key.data.sendall(content)
                    if source is client and self._is_cut(content):
                        server.recv(_CHUNK_BYTES)  # it is done
                        return

    def _is_cut(self, content: bytes) -> bool:
        if b"COMMIT" not in content:
            return False
        with self._lock:
            self.n_commits += 1
            is_cut = self._cuts(self.n_commits)
            self.n_cuts += is_cut
        return is_cut


@contextmanager
def cutting(url: str, *, cuts: Callable[[int], bool]) -> Iterator[tuple[str, CuttingProxy]]:
    """The database's URL by way of a proxy, and the proxy."""
    start, _, database = url.rpartition("/")
    host, _, port = start.rpartition(":")
    proxy = CuttingProxy(int(port), cuts=cuts)
    try:
        yield f"{host}:{proxy.port}/{database}", proxy
    finally:
        proxy.close()

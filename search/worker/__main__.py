"""Entry point of a worker process: ``python -P -m search.worker --fd N``."""

from __future__ import annotations

import argparse
import os
import sys


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m search.worker")
    parser.add_argument("--fd", type=int, required=True, help="descriptor of a connected stream socket")
    parser.add_argument("--import-path", action="append", default=[], help="appended to the import path")
    parser.add_argument("--listen-fd", type=int, default=None, help="of rank 0 of a group: where the others connect")
    parser.add_argument("--threads", type=int, default=None, help="default: OMP_NUM_THREADS, else 1")
    return parser.parse_args()


def main() -> None:
    """Take assignments until the coordinator says to shut down, or is gone."""
    arguments = _parse()
    threads = arguments.threads or int(os.environ.get("OMP_NUM_THREADS", "1"))
    # Appended, so that a user's own `search.py` or `types.py` shadows nothing.
    sys.path.extend(path for path in arguments.import_path if path not in sys.path)

    # Connected before torch is imported: a coordinator that dies meanwhile is noticed.
    from search.worker.connection import Connection

    connection = Connection(arguments.fd)

    from search.worker.loop import run

    run(connection, n_threads=threads, listen_descriptor=arguments.listen_fd)


if __name__ == "__main__":
    main()

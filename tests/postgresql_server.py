"""A PostgreSQL server of the tests' own: real, on a free port of 127.0.0.1, gone with the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from command_line import free_port
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

USER = "studies"
PASSWORD = "pass/word@%:1"
ENCODED_PASSWORD = "pass%2Fword%40%25%3A1"
_OTHER_USER = "postgres"
"""Who runs the server if the tests run as root, which PostgreSQL refuses to."""


def binaries() -> Path | None:
    """Directory of the newest PostgreSQL's programs, None if there are none."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: int(each.parent.name))
    on_path = shutil.which("pg_ctl")
    found = [*([Path(on_path).resolve().parent] if on_path else []), *places]
    return next((each for each in reversed(found) if (each / "initdb").exists()), None)


class PostgresqlServer:
    """A server that can be stopped and started again; `serving` makes one.

    Args:
        programs: Directory of ``initdb`` and ``pg_ctl``.
        directory: An empty directory of the user who runs it.
    """

    def __init__(self, programs: Path, directory: Path) -> None:
        self._programs = programs
        self._directory = directory
        self.port = free_port()
        password = directory / "password"
        password.write_text(PASSWORD)
        self._run(
            *("initdb", "--pgdata", str(directory / "data"), "--username", USER, "--pwfile", str(password)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )
        with (directory / "data" / "postgresql.conf").open("a") as settings:
            settings.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n")
            settings.write("fsync = off\nshared_buffers = 16MB\nmax_connections = 40\n")
        self.start()

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._run("pg_ctl", "start", "--wait", "--pgdata", str(self._directory / "data"), "--log", self._log)

    def stop(self) -> None:
        """Stop it as a crash does: open transactions are lost, connections break."""
        self._run("pg_ctl", "stop", "--pgdata", str(self._directory / "data"), "--mode", "immediate")

    def url(self, database: str) -> str:
        """URL of a database, with the password."""
        return f"postgresql://{USER}:{ENCODED_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def new_database(self, *, template: str = "template0") -> str:
        """Create a database and return its URL."""
        name = f"db_{uuid.uuid4().hex[:12]}"
        self.query("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def query(self, database: str, statement: str) -> list[Any]:
        """Return the rows of a statement's answer, if it has one."""
        engine = create_engine(self.url(database), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            answer = connection.execute(text(statement))
            return list(answer) if answer.returns_rows else []

    @property
    def _log(self) -> str:
        return str(self._directory / "log")

    def _run(self, program: str, *arguments: str) -> None:
        options: dict[str, Any] = {}
        if os.geteuid() == 0:
            options = {"user": _OTHER_USER, "group": _OTHER_USER, "extra_groups": []}
        with (self._directory / "output").open("w") as output:  # the server would keep a pipe open
            done = subprocess.run(
                [self._programs / program, *arguments],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
                timeout=60,
                **options,
            )
        assert done.returncode == 0, (self._directory / "output").read_text()


@contextmanager
def serving(programs: Path) -> Iterator[PostgresqlServer]:
    """A server in a temporary directory, stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        if os.geteuid() == 0:
            shutil.chown(name, _OTHER_USER)
        server = PostgresqlServer(programs, Path(name))
        try:
            yield server
        finally:
            server.stop()

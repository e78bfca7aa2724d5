from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgresql_server import PostgresqlServer, binaries, serving


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without experiments; making one takes seconds, copying it nothing."""
    from search.tracking.database import ensure_database
    from search.tracking.quiet import prepare_environment

    prepare_environment()
    directory = tmp_path_factory.mktemp("mlflow-template")
    ensure_database(f"sqlite:///{directory / 'mlflow.db'}", str(directory / "artifacts"))
    return directory / "mlflow.db"


@pytest.fixture
def mlflow_uri(mlflow_template: Path, tmp_path: Path) -> str:
    """URI of an MLflow database of its own, ``mlflow.db`` in `tmp_path`."""
    return f"sqlite:///{shutil.copy(mlflow_template, tmp_path / 'mlflow.db')}"


@pytest.fixture(scope="session")
def copied_mlflow_database(mlflow_template: Path) -> Callable[[Path], Path]:
    """Put an MLflow database at a path, with its parents."""

    def copy(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(mlflow_template, path))

    return copy


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server; a test that stops it starts it again."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with serving(programs) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_on_postgresql(postgresql: PostgresqlServer) -> str:
    """Name of a database with MLflow's tables and nothing in them, to be copied: making one takes seconds."""
    from search.tracking.database import ensure_database
    from search.tracking.quiet import prepare_environment

    prepare_environment()
    url = postgresql.new_database()
    ensure_database(url, "/nowhere")
    return url.rpartition("/")[2]

from __future__ import annotations

import fcntl
import functools
import gc
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torchvision_shim
from hypothesis import settings

if TYPE_CHECKING:
    from alembic.config import Config
    from forked_workers import WorkerTemplate
    from mlflow import MlflowClient
    from postgresql_server import PostgresqlServer
    from recorded_studies import RecordedStudies

    from search.paths import StateDirectory
    from search.study_definition import StudyDefinition
    from search.study_record import StudyRecord

# Two files of tests run at a time; torch reads this when it is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# At each commit databases and journals wait for the disk, and most of what tests do is to commit: so their files, and
# those of the processes that they start, are in memory where it has room for them.
_MEMORY, _NEEDED_BYTES = Path("/dev/shm"), 4 << 30
if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK):
    _of_memory = os.statvfs(_MEMORY)
    if _of_memory.f_bavail * _of_memory.f_frsize >= _NEEDED_BYTES and not _of_memory.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None  # it may have been looked up already

# The same code gives the same answer. `pytest --hypothesis-profile=explore` draws examples that nobody has seen.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.register_profile("quick", parent=settings.get_profile("repeatable"), max_examples=50)
settings.load_profile("repeatable")

# Before anything imports Lightning, which imports a torchvision that it finds.
torchvision_shim.make_importable()


def pytest_configure(config: pytest.Config) -> None:
    """Draw half as many examples where slow tests are left out, unless the command line names a profile."""
    if "not slow" in config.option.markexpr:
        settings.load_profile("quick")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector out of the hundreds of thousands of objects that imports make and that stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let several processes begin with the slowest files: none has one left when the others have nothing to do."""
    if hasattr(config, "workerinput"):
        n_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -n_slow[item.path])
    if not torchvision_shim.is_installed():
        for item in items:
            if item.get_closest_marker("vision"):
                item.add_marker(pytest.mark.skip(reason="torchvision is not installed (the extra `vision`)"))


@pytest.fixture(scope="session", autouse=True)
def _read_once() -> Iterator[None]:
    """Read once what stays as it is: Optuna reads migrations with every storage, Lightning all packages' metadata."""
    with pytest.MonkeyPatch.context() as patch:
        if "optuna" in sys.modules:
            from alembic.script import ScriptDirectory

            read = ScriptDirectory.from_config
            known: dict[str | None, ScriptDirectory] = {}

            def from_config(config: Config) -> ScriptDirectory:
                place = config.get_main_option("script_location")
                if place not in known:
                    known[place] = read(config)
                return known[place]

            patch.setattr(ScriptDirectory, "from_config", from_config)
        if "lightning_fabric" in sys.modules:
            from lightning_fabric.utilities import registry

            patch.setattr(registry, "entry_points", functools.cache(registry.entry_points))
        yield


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without experiments; making one takes seconds, copying it nothing."""
    from search.tracking.database import ensure_database
    from search.tracking.quiet import prepare_environment

    prepare_environment()
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  # imported whichever process makes the database

    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent  # all processes of this run have it
    with (directory / "mlflow-template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ensure_database(f"sqlite:///{directory / 'mlflow.db'}", str(directory / "artifacts"))
    return directory / "mlflow.db"


@pytest.fixture
def mlflow_uri(mlflow_template: Path, tmp_path: Path) -> str:
    """URI of an MLflow database of its own, ``mlflow.db`` in `tmp_path`."""
    return f"sqlite:///{shutil.copy(mlflow_template, tmp_path / 'mlflow.db')}"


@pytest.fixture
def quiet_optuna() -> Iterator[None]:
    """Optuna that tells of errors only, for tests that run its studies."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    """A client of the database at `mlflow_uri`."""
    import mlflow

    return mlflow.MlflowClient(tracking_uri=mlflow_uri)


@pytest.fixture(scope="session")
def copied_mlflow_database(mlflow_template: Path) -> Callable[[Path], Path]:
    """Put an MLflow database at a path, with its parents."""

    def copy(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(mlflow_template, path))

    return copy


@pytest.fixture
def state(tmp_path: Path, copied_mlflow_database: Callable[[Path], Path]) -> StateDirectory:
    """A state directory with nothing in it but an empty MLflow database."""
    from search.paths import StateDirectory

    directory = StateDirectory(root=tmp_path / "mlruns")
    copied_mlflow_database(directory.mlflow_database)
    return directory


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions leave MLflow out, which takes most of the time of a study on virtual workers."""
    from no_tracker import NoTracker

    monkeypatch.setattr("search.coordinator.session.MlflowTracker", NoTracker)


@pytest.fixture(scope="session")
def worker_template() -> Iterator[WorkerTemplate]:
    """A process to fork workers from; each that is started instead imports torch and Lightning, for seconds."""
    from forked_workers import WorkerTemplate

    template = WorkerTemplate()
    yield template
    template.close()


@pytest.fixture
def forked_workers(worker_template: WorkerTemplate) -> Iterator[None]:
    """Engines in this process fork their workers."""
    with worker_template.used():
        yield


@pytest.fixture
def definition() -> StudyDefinition:
    """A study of digits in three stages."""
    from plain_study import halving_digits

    return halving_digits()


@pytest.fixture
def record(definition: StudyDefinition) -> StudyRecord:
    """The study of digits in its second stage, with a trial of every state."""
    from reported_studies import a_study_under_way

    return a_study_under_way(definition)


@pytest.fixture
def finished(record: StudyRecord) -> StudyRecord:
    """The same, confirmed, refitted and tested."""
    from reported_studies import with_a_result

    return with_a_result(record)


@pytest.fixture
def empty(record: StudyRecord) -> StudyRecord:
    """The same before its first trial."""
    return replace(record, openings=(), trials=())


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RecordedStudies:
    """Nothing is recorded yet; commands run in `tmp_path`, on 80 columns."""
    from recorded_studies import RecordedStudies

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return RecordedStudies()


@pytest.fixture
def digits(studies: RecordedStudies, definition: StudyDefinition) -> RecordedStudies:
    """An unfinished study of digits is recorded."""
    from recorded_studies import a_record

    studies.records["digits"] = a_record(definition)
    return studies


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server; a test that stops it starts it again."""
    from postgresql_server import binaries, serving

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

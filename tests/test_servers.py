"""Both stores on real servers, PostgreSQL's and MLflow's, which crash, and so does the coordinator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from cutting_proxy import cutting
from mlflow_server import mlflow_serving
from postgresql_server import ENCODED_PASSWORD, PASSWORD, PostgresqlServer
from study_runs import Listener, run_session
from virtual_engine import Faults, KilledError, VirtualEngine

from search import studies_api
from search.cli.main import exit_code_of
from search.engines import choice
from search.errors import StudyConflictError
from search.messages import EpochReport
from search.observer import SilentObserver
from search.paths import StateDirectory
from search.storage import StudyStore
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain
from search.study_record import StudyRecord, StudyState

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
OUTAGE_SECONDS = 20.0

PLAIN: dict[str, Any] = {
    "study": "shared",
    "seed": 3,
    "model": {"class_path": "package.Net"},
    "objective": {"monitor": "val_acc", "direction": "maximize"},
    "space": {"model.learning_rate": {"log": [1.0e-6, 1.0]}, "model.optimizer": {"choice": ["sgd", "adamw"]}},
    "stages": [
        {"name": "coarse", "n_trials": 8, "max_epochs": 2, "sampler": "qmc"},
        {"name": "fine", "n_trials": 4, "max_epochs": 3, "sampler": "random"},
    ],
    "pruner": "none",
    "early_stopping": "none",
    "finish": {"top_k": 2, "n_seeds": 2, "ensemble": True},
}


SHORT: dict[str, Any] = {"stages": [PLAIN["stages"][0] | {"n_trials": 3}], "finish": "none"}


def run(
    directory: Path,
    *,
    storage: str,
    tracking_uri: str,
    engine: VirtualEngine,
    observer: SilentObserver | None = None,
    changes: Mapping[str, Any] | None = None,
) -> StudyRecord:
    state = StateDirectory(root=directory)
    definition: StudyDefinition = definition_from_plain(PLAIN | dict(changes or {}))
    return run_session(state, engine, definition, observer=observer, storage=storage, tracking_uri=tracking_uri)


def tracked(uri: str, study: str) -> dict[str, Any]:
    """MLflow's runs of the study by name; fails if a name occurs twice."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert max(Counter(run.info.run_name for run in runs).values()) == 1
    return {
        str(run.info.run_name): (
            run.info.status,
            {
                key: [
                    (row.step, row.value) for row in sorted(client.get_metric_history(run.info.run_id, key), key=_step)
                ]
                for key in run.data.metrics
                if not key.startswith(("seconds", "spent/", "devices/"))  # what depends on the clock
            },
            {each.path for each in client.list_artifacts(run.info.run_id)},
        )
        for run in runs
    }


def _step(row: Any) -> tuple[int, float]:
    return row.step, row.value


def stored(uri: str, study: str) -> list[Any]:
    """Optuna's trials, all that does not depend on when they ran."""
    return [
        (trial.number, trial.state, trial.value, trial.params, trial.intermediate_values)
        for trial in optuna.load_study(study_name=study, storage=uri).trials
    ]


@dataclass(frozen=True)
class Calm:
    """What a study leaves to which nothing happens."""

    stored: list[Any]
    tracked: dict[str, Any]


@pytest.fixture(scope="module")
def calm(postgresql: PostgresqlServer, mlflow_on_postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    storage, tracking_uri = postgresql.new_database(), postgresql.new_database(template=mlflow_on_postgresql)
    record = run(tmp_path_factory.mktemp("calm"), storage=storage, tracking_uri=tracking_uri, engine=VirtualEngine())
    assert record.state is StudyState.FINISHED
    runs = tracked(tracking_uri, "shared")
    assert {status for status, *_ in runs.values()} == {"FINISHED"}
    assert runs["shared"][2] == {"study.yaml", "ranges.json", "result.json"}
    return Calm(stored(storage, "shared"), runs)


@pytest.fixture
def uris(postgresql: PostgresqlServer, mlflow_on_postgresql: str) -> Mapping[str, str]:
    return {
        "storage": postgresql.new_database(),
        "tracking_uri": postgresql.new_database(template=mlflow_on_postgresql),
    }


def test_a_server_that_is_away_for_twenty_seconds_costs_nothing(
    postgresql: PostgresqlServer, uris: Mapping[str, str], calm: Calm, tmp_path: Path
) -> None:
    observer, n_epochs, back = Listener(), 0, threading.Timer(OUTAGE_SECONDS, postgresql.start)

    def crash_once(report: EpochReport) -> None:
        nonlocal n_epochs
        n_epochs += 1
        if n_epochs == 7:
            postgresql.stop()
            back.start()

    began = time.monotonic()
    record = run(tmp_path / "struck", **uris, engine=VirtualEngine(on_epoch=crash_once), observer=observer)
    back.join()
    assert OUTAGE_SECONDS < time.monotonic() - began < OUTAGE_SECONDS + 25.0
    assert record.state is StudyState.FINISHED
    assert stored(uris["storage"], "shared") == calm.stored
    assert tracked(uris["tracking_uri"], "shared") == calm.tracked
    told = [notice for notice in observer.notices if "Optuna storage" in notice]
    assert ["does not answer" in told[0], "answers again" in told[1], len(told)] == [True, True, 2], observer.notices
    assert len(observer.notices) <= 4, observer.notices  # and MLflow's two
    assert not any(PASSWORD in notice for notice in observer.notices)


def test_what_was_done_without_an_answer_is_not_done_twice(
    postgresql: PostgresqlServer, uris: Mapping[str, str], calm: Calm, tmp_path: Path
) -> None:
    with (
        # Not while the stores are opened, which fails at once.
        cutting(uris["storage"], cuts=lambda number: number > 12 and number % 8 == 0) as (storage, optuna_proxy),
        cutting(uris["tracking_uri"], cuts=lambda number: 20 < number < 40 and number % 4 == 0) as (
            tracking_uri,
            mlflow_proxy,
        ),
    ):
        for _ in range(3):  # a study that ends while MLflow is cut off is delivered when it is resumed
            record = run(tmp_path / "cut", storage=storage, tracking_uri=tracking_uri, engine=VirtualEngine())
            if record.state is StudyState.FINISHED:
                break
    assert record.state is StudyState.FINISHED
    assert optuna_proxy.n_cuts > 20
    assert mlflow_proxy.n_cuts > 0
    assert stored(uris["storage"], "shared") == calm.stored
    assert tracked(uris["tracking_uri"], "shared") == calm.tracked


COORDINATOR = """
import os, random, signal, sys, time
from pathlib import Path

import mlflow, optuna  # so that lives begin at once

from test_servers import run
from virtual_engine import VirtualEngine

directory, storage, tracking_uri = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
checkpoints = directory / "checkpoints"


def live(on_epoch=lambda n_epochs: None):
    known = {}
    if checkpoints.exists():
        known = dict(line.rsplit(" ", 1) for line in checkpoints.read_text().splitlines())
    n_epochs = 0

    def save(report):
        nonlocal n_epochs
        n_epochs += 1
        time.sleep(0.03)
        checkpoints.with_suffix(".new").write_text("".join(f"{key} {n}\\n" for key, n in engine.checkpoints.items()))
        checkpoints.with_suffix(".new").replace(checkpoints)
        on_epoch(n_epochs)

    engine = VirtualEngine(
        n_slots=2, checkpoints={key: int(epoch) for key, epoch in known.items()}, on_epoch=save
    )
    run(directory, storage=storage, tracking_uri=tracking_uri, engine=engine)


def killed(pid):
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def begun(**options):
    child = os.fork()
    if child == 0:
        live(**options)
        os._exit(0)
    return child


directory.mkdir(exist_ok=True)
"""


def coordinate(directory: Path, script: str, *, storage: str, tracking_uri: str, arguments: Sequence[str] = ()) -> None:
    """Run `COORDINATOR` and then `script` in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", COORDINATOR + script, str(directory), storage, tracking_uri, *arguments],
        cwd=directory.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_studies_share_two_servers_from_the_first_moment(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    uris = {"storage": postgresql.new_database(), "tracking_uri": postgresql.new_database()}  # without tables

    def run_named(name: str) -> StudyRecord:
        return run(tmp_path / name, **uris, engine=VirtualEngine(), changes=SHORT | {"study": name})

    with ThreadPoolExecutor(2) as pool:
        records = list(pool.map(run_named, ("one", "another")))
    for name, record in zip(("one", "another"), records, strict=True):
        assert record.state is StudyState.FINISHED
        assert [trial[0] for trial in stored(uris["storage"], name)] == list(range(3))
        assert {status for status, *_ in tracked(uris["tracking_uri"], name).values()} == {"FINISHED"}


def test_of_two_studies_of_one_name_one_begins(uris: Mapping[str, str], tmp_path: Path) -> None:
    definition = definition_from_plain(PLAIN)
    stores = [StudyStore(uris["storage"], create=True) for _ in range(4)]
    barrier = threading.Barrier(len(stores))

    def create(number: int) -> str:
        barrier.wait()
        try:
            return stores[number].create(definition, directory=tmp_path / str(number)).uid
        except StudyConflictError:
            return ""

    with ThreadPoolExecutor(len(stores)) as pool:
        uids = [uid for uid in pool.map(create, range(len(stores))) if uid]
    assert uids == [stores[0].open("shared").uid]
    for store in stores:
        store.close()


def everything_in(server: PostgresqlServer, uri: str) -> str:
    """All rows of all tables of a database."""
    database = uri.rpartition("/")[2]
    tables = server.query(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return "\n".join(
        str(row[0]) for (table,) in tables for row in server.query(database, f"SELECT t::text FROM {table} t")
    )


def test_passwords_are_nowhere_but_in_the_file_for_them(
    postgresql: PostgresqlServer,
    uris: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = StateDirectory(root=tmp_path / "state")
    monkeypatch.setenv("ZEROIN_HOME", str(state.root))
    engine = VirtualEngine(faults=Faults(killed_after_polls=5))
    monkeypatch.setattr(choice, "LocalEngine", lambda slots: engine)
    with pytest.raises(KilledError):
        studies_api.run_study(definition_from_plain(PLAIN | uris | SHORT))
    engine = VirtualEngine(checkpoints=engine.checkpoints)
    listener = Listener()
    # The storage's password is given, the tracking store's is known from the beginning.
    record = studies_api.resume_study("shared", storage=uris["storage"], observer=listener)
    assert record.state is StudyState.FINISHED
    assert {status for status, *_ in tracked(uris["tracking_uri"], "shared").values()} == {"FINISHED"}
    told = [*listener.notices, record.storage, record.tracking_uri]
    for command in (["list"], ["status", "shared"], ["trials", "shared"], ["ranges", "shared"], ["best", "shared"]):
        for options in ([], ["--format", "json"]):
            code = exit_code_of([*command, "--storage", uris["storage"], *(options if command[0] != "best" else [])])
            output = capsys.readouterr()
            assert code == 0, output.err
            told += [output.out, output.err]
    files = {path: path.read_bytes() for path in state.root.rglob("*") if path.is_file()}
    kept = {path: content for path, content in files.items() if ENCODED_PASSWORD.encode() in content}
    assert [path.name for path in kept] == ["credentials.json"]
    assert [path.stat().st_mode & 0o777 for path in kept] == [0o600]
    recorded = everything_in(postgresql, uris["storage"]) + everything_in(postgresql, uris["tracking_uri"])
    assert "***" in recorded  # the definition names its stores
    for text in [
        *told,
        recorded,
        *(content.decode(errors="replace") for content in [files[path] for path in files.keys() - kept.keys()]),
    ]:
        assert PASSWORD not in text
        assert ENCODED_PASSWORD not in text


SEVERAL_LIVES = """
def crash_server_then_self(n_epochs):
    if n_epochs == 8:
        os.killpg(int(sys.argv[4]), signal.SIGKILL)
    if n_epochs == 16:
        os.kill(os.getpid(), signal.SIGKILL)


_, status = os.waitpid(begun(on_epoch=crash_server_then_self), 0)
assert os.WTERMSIG(status) == signal.SIGKILL
chance = random.Random(5)
for _ in range(2):
    child = begun()
    time.sleep(chance.uniform(0.3, 1.2))
    killed(child)
"""


def test_what_is_killed_again_and_again_and_its_tracking_server_leave_what_calm_ones_do(
    uris: Mapping[str, str], calm: Calm, tmp_path: Path
) -> None:
    import mlflow

    study, storage = tmp_path / "study", uris["storage"]
    with mlflow_serving(uris["tracking_uri"], tmp_path / "server") as server:
        coordinate(
            study, SEVERAL_LIVES, storage=storage, tracking_uri=server.address, arguments=[str(server.process_group)]
        )
        server.crash()  # it has crashed; what is left of it is gathered
        observer, back = Listener(), threading.Timer(1.0, server.start)

        def take_time(report: EpochReport) -> None:
            time.sleep(0.3)

        back.start()
        engine = VirtualEngine(checkpoints=_checkpoints(study), on_epoch=take_time)
        record = run(study, storage=storage, tracking_uri=server.address, engine=engine, observer=observer)
        back.join()
        if record.state is not StudyState.FINISHED:  # the study ended before the server was back
            record = run(study, storage=storage, tracking_uri=server.address, engine=VirtualEngine())
        assert record.state is StudyState.FINISHED
        assert any("MLflow cannot be written to" in notice for notice in observer.notices)
        assert stored(storage, "shared") == calm.stored
        assert tracked(server.address, "shared") == calm.tracked
        client = mlflow.MlflowClient(tracking_uri=server.address)
        experiment = client.get_experiment_by_name("shared")
        assert experiment is not None
        for run_ in client.search_runs([experiment.experiment_id]):
            for key, latest in run_.data.metrics.items():  # what the UI shows: the last epoch, not the last delivered
                history = client.get_metric_history(run_.info.run_id, key)
                assert latest == max(history, key=_step).value
    assert len(list((tmp_path / "server" / "artifacts").rglob("study.yaml"))) == 1
    listed = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("optuna")), "trials", "--study-name", "shared"),
            *("--format", "json", "--storage", uris["storage"]),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert [each["number"] for each in json.loads(listed.stdout)] == list(range(12)), listed.stderr[-2000:]


def _checkpoints(directory: Path) -> dict[str, int]:
    lines = (directory / "checkpoints").read_text().splitlines()
    return {key: int(epoch) for key, epoch in (line.rsplit(" ", 1) for line in lines)}

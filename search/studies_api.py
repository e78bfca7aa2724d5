"""Run, resume, read, list and delete studies from Python; the command line does nothing else.

Example::

    from pathlib import Path

    from search.studies_api import run_study
    from search.study_file import load_study_file

    record = run_study(load_study_file(Path("my_study.yaml")))
    print(record.result.test_ensemble)
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from search.checkpoint_store import CheckpointStore
from search.coordinator.edited_study import edits_of, require_safe
from search.coordinator.interruption import interruption
from search.coordinator.preflight import inspect_study
from search.coordinator.reading import read_record
from search.coordinator.session import Session
from search.coordinator.stores import StoreUris, default_storage, storage_uri, store_uris, with_stores
from search.coordinator.workforce import Workforce
from search.credentials import require_credentials
from search.database_driver import require_driver
from search.engines.choice import EngineName, PlacedEngine, place_engine
from search.errors import SearchError, StateError, StudyNotFoundError
from search.lease import Lease, is_held
from search.observer import SilentObserver, StudyObserver
from search.paths import StateDirectory, StudyPaths
from search.storage import StoredStudy, StudyStore
from search.study_definition import StudyDefinition
from search.study_record import StudyRecord, StudyState
from search.study_views import Edit, FoundStudy, StudyPreview, StudySummary
from search.uris import masked

_CHECKPOINTS_OPTION = "zeroin run STUDY --checkpoints"


def run_study(
    definition: StudyDefinition,
    *,
    directory: StateDirectory | None = None,
    observer: StudyObserver | None = None,
    devices: str = "auto",
    engine: str = EngineName.LOCAL,
    ray_address: str | None = None,
    new: bool = False,
    storage: str | None = None,
    tracking_uri: str | None = None,
    checkpoints: str | None = None,
) -> StudyRecord:
    """Run a study to its end; one that is unfinished is resumed, one that is finished is only read.

    A recorded study goes by the definition given from now on, if what has changed leaves its trials comparable; one
    that is finished, but has no `finish`, is taken up again then.

    Args:
        definition: The study.
        directory: The state directory, ``$ZEROIN_HOME`` or ``mlruns`` by default.
        observer: Who watches, nobody by default.
        devices: See `search.engines.devices.plan_devices`, for Ray `search.engines.ray_slots.wanted_devices`.
        engine: ``local`` for worker processes of this machine, ``ray`` for those of a Ray cluster.
        ray_address: Of the cluster; see `search.engines.ray_cluster.RayEngine` for None.
        new: Start another study under a numbered name (``digits-2``) if this name is taken.
        storage: Optuna storage URI, before the definition's own.
        tracking_uri: MLflow tracking URI, before the definition's own.
        checkpoints: URL of a directory for checkpoints, before the definition's own.

    Raises:
        StudyDefinitionError: If model, data and study do not fit each other; nothing has been created then.
        StudyConflictError: If the name is taken by a study whose definition differs in what cannot be changed any more,
            or the study is running already.
        StudyFailedError: If the study cannot go on.
        StudyInterruptedError: If the user stopped it.
    """
    state = directory or StateDirectory.default()
    definition = with_stores(definition, storage=storage, tracking_uri=tracking_uri, checkpoints=checkpoints)
    require_driver(definition.tracking_uri or "", what="the MLflow store")
    with _opened(storage_uri(definition.storage, state)) as store:
        names = () if store is None else store.names()
        if new:
            definition = replace(definition, study=_free_name(definition.study, names))
        elif store is not None and definition.study in names:
            study = store.open(definition.study)
            definition = _kept_as_before(definition, study.definition)
            edits = edits_of(study, definition)
            require_safe(edits, study=definition.study)
            record = read_record(study, state, store_uris(state, definition))
            if record.state is StudyState.FINISHED and (not edits or record.finish_has_begun):
                return record
    uris = store_uris(state, definition)
    _require_usable(uris)
    observer = observer or SilentObserver()
    placed = place_engine(
        engine, devices=devices, resources=definition.resources, ray_address=ray_address, notify=observer.notice
    )
    return _session(definition, uris, state, observer, placed).run()


def resume_study(
    name: str,
    *,
    directory: StateDirectory | None = None,
    observer: StudyObserver | None = None,
    devices: str = "auto",
    engine: str = EngineName.LOCAL,
    ray_address: str | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
    edited: StudyDefinition | None = None,
) -> StudyRecord:
    """Continue a recorded study; a finished one is only read.

    Args:
        name: The study.
        directory: See `run_study`, as for all that follow.
        observer: Likewise.
        devices: Likewise.
        engine: Likewise.
        ray_address: Likewise.
        storage: Likewise.
        tracking_uri: Likewise.
        edited: The definition that it goes by from now on, None for the recorded one.

    Raises:
        StudyNotFoundError: If there is no such study.
        StudyConflictError: If it is running already, or `edited` differs in what cannot be changed any more.
        StudyFailedError: If the study cannot go on.
        StudyInterruptedError: If the user stopped it.
    """
    state = directory or StateDirectory.default()
    record = read_study(name, directory=state, storage=storage, tracking_uri=tracking_uri)
    if edited is not None:
        return run_study(
            replace(edited, study=name),
            directory=state,
            observer=observer,
            devices=devices,
            engine=engine,
            ray_address=ray_address,
            storage=storage,
            tracking_uri=tracking_uri,
        )
    if record.state is StudyState.FINISHED:
        return record
    uris = store_uris(state, record.definition, storage=storage_uri(storage, state), tracking_uri=tracking_uri)
    _require_usable(uris)
    observer = observer or SilentObserver()
    resources = record.definition.resources
    placed = place_engine(engine, devices=devices, resources=resources, ray_address=ray_address, notify=observer.notice)
    return _session(record.definition, uris, state, observer, placed).run()


def preview_study(
    definition: StudyDefinition,
    *,
    directory: StateDirectory | None = None,
    devices: str = "auto",
    engine: str = EngineName.LOCAL,
    ray_address: str | None = None,
    new: bool = False,
    storage: str | None = None,
    tracking_uri: str | None = None,
    checkpoints: str | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> StudyPreview:
    """Inspect a study and say what `run_study` would do with these arguments, creating nothing.

    `notify` is told what the user should know meanwhile (that the cluster has no room, that a worker was lost).

    Raises:
        StudyDefinitionError: If model, data and study do not fit each other.
        StateError: If a study of that name cannot be read.
    """
    state = directory or StateDirectory.default()
    definition = with_stores(definition, storage=storage, tracking_uri=tracking_uri, checkpoints=checkpoints)
    existing: StudyState | None = None
    edits: tuple[Edit, ...] = ()
    finish_has_begun = False
    with _opened(storage_uri(definition.storage, state)) as store:
        names = () if store is None else store.names()
        if new:
            definition = replace(definition, study=_free_name(definition.study, names))
        elif store is not None and definition.study in names:
            study = store.open(definition.study)
            definition = _kept_as_before(definition, study.definition)
            edits = edits_of(study, definition)
            finish_has_begun = study.finish_plan() is not None
            existing = read_record(study, state, store_uris(state, definition)).state
    uris = store_uris(state, definition)
    _require_usable(uris)
    placed = place_engine(
        engine, devices=devices, resources=definition.resources, ray_address=ray_address, notify=notify
    )
    try:
        with interruption() as interrupted:
            workforce = Workforce(placed.engine, interruption=interrupted, n_workers=1)
            inspection = inspect_study(definition, workforce, notify=notify)
    finally:
        placed.engine.close(timeout_seconds=0.0)
    if placed.notice:
        inspection = replace(inspection, notices=(*inspection.notices, placed.notice))
    return StudyPreview(
        inspection=inspection,
        n_workers=placed.engine.n_slots,
        storage=masked(uris.storage),
        tracking_uri=masked(uris.tracking),
        directory=str(state.study(definition.study).directory),
        name=definition.study,
        state=existing,
        edits=edits,
        finish_has_begun=finish_has_begun,
        is_packed=definition.resources.trials_per_device == "auto",
    )


def find_study(
    name: str,
    *,
    directory: StateDirectory | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
) -> FoundStudy:
    """Read what a study is and where, but not its trials, whose logs may be damaged.

    Raises:
        StudyNotFoundError: If there is no such study; the message lists those there are.
    """
    state = directory or StateDirectory.default()
    store = StudyStore(storage_uri(storage, state), create=False)
    try:
        study = store.open(name)
    finally:
        store.close()
    uris = store_uris(state, study.definition, storage=store.uri, tracking_uri=tracking_uri)
    paths = _home(study, store.uri, state)
    return FoundStudy(
        definition=study.definition,
        is_running=is_held(paths.lease),
        storage=masked(uris.storage),
        tracking_uri=masked(uris.tracking),
        directory=str(paths.directory),
    )


def read_study(
    name: str,
    *,
    directory: StateDirectory | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
) -> StudyRecord:
    """Read everything that is recorded of a study.

    Raises:
        StudyNotFoundError: If there is no such study; the message lists those there are.
    """
    state = directory or StateDirectory.default()
    store = StudyStore(storage_uri(storage, state), create=False)
    try:
        study = store.open(name)
        uris = store_uris(state, study.definition, storage=store.uri, tracking_uri=tracking_uri)
        return read_record(study, state, uris)
    finally:
        store.close()


def list_studies(*, directory: StateDirectory | None = None, storage: str | None = None) -> Sequence[StudySummary]:
    """Summarize every study in a storage, those that cannot be read too; none if the storage does not exist."""
    state = directory or StateDirectory.default()
    with _opened(storage_uri(storage, state)) as store:
        return [] if store is None else [_summary_of(name, store, state) for name in store.names()]


def delete_study(
    name: str,
    *,
    directory: StateDirectory | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
) -> Sequence[str]:
    """Remove a study from MLflow, its files, and Optuna, in this order: a half-deleted one can be deleted again.

    Its trials are not read, so that a study with damaged logs can be deleted too.

    Returns:
        One line for each thing that was removed.

    Raises:
        StudyNotFoundError: If there is no such study.
        StudyConflictError: If it is running.
    """
    from search.tracking import delete_study as delete_tracked_study  # MLflow is slow to import; only this needs it

    state = directory or StateDirectory.default()
    store = StudyStore(storage_uri(storage, state), create=False)
    try:
        study = store.open(name)
        uris = store_uris(state, study.definition, storage=store.uri, tracking_uri=tracking_uri)
        paths = _home(study, store.uri, state)
        _require_ours(paths, name)
        require_credentials(uris.tracking, what="the MLflow store", option="--tracking-uri")
        require_credentials(uris.checkpoints or "", what="the checkpoints", option=_CHECKPOINTS_OPTION)
        lease = Lease(state.make(paths.directory) / paths.lease.name, study=name)
        try:
            was_tracked = delete_tracked_study(uris.tracking, name, study_uid=study.uid)
            shutil.rmtree(paths.directory)
            remote = paths.with_checkpoints(uris.checkpoints, study_uid=study.uid).checkpoints
            if remote:
                CheckpointStore(remote).remove_all()
            store.delete(name)
        finally:
            lease.release()
    finally:
        store.close()
    return [
        *([f"MLflow experiment {name!r} in {masked(uris.tracking)}"] if was_tracked else []),
        f"checkpoints and logs in {paths.directory}",
        *([f"checkpoints in {masked(remote)}"] if remote else []),
        f"Optuna study {name!r} in {masked(uris.storage)}",
    ]


def _require_usable(uris: StoreUris) -> None:
    """Check what can be checked of the stores before anything is created or started.

    Raises:
        StateError: If a driver is missing, or a password, or the checkpoints' URL cannot be used.
    """
    require_driver(uris.storage, what="the Optuna storage")
    require_driver(uris.tracking, what="the MLflow store")
    require_credentials(uris.tracking, what="the MLflow store", option="--tracking-uri")
    if uris.checkpoints is not None:
        require_credentials(uris.checkpoints, what="the checkpoints", option=_CHECKPOINTS_OPTION)
        CheckpointStore(uris.checkpoints, pauses_seconds=())


def _session(
    definition: StudyDefinition,
    uris: StoreUris,
    state: StateDirectory,
    observer: StudyObserver,
    placed: PlacedEngine,
) -> Session:
    if placed.notice:
        observer.notice(placed.notice)
    return Session(
        definition=definition,
        uris=uris,
        state=state,
        engine=placed.engine,
        observer=observer,
    )


@contextmanager
def _opened(storage: str) -> Iterator[StudyStore | None]:
    """Open a storage to read from; None if it does not exist."""
    try:
        store = StudyStore(storage, create=False)
    except StudyNotFoundError:
        store = None
    try:
        yield store
    finally:
        if store is not None:
            store.close()


def _home(study: StoredStudy, storage: str, state: StateDirectory) -> StudyPaths:
    """Return the files of a study, which may be in another state directory, or have moved with this one's storage."""
    is_moved = not study.directory.exists() and storage == default_storage(state)
    return state.study(study.name) if is_moved else StudyPaths(directory=study.directory)


def _require_ours(paths: StudyPaths, name: str) -> None:
    """Check that a directory is a study's before all of it is removed: whoever writes to the storage names it.

    Raises:
        StateError: If it is not.
    """
    directory = paths.directory
    is_named_so = directory.is_absolute() and directory.parts[-2:] == ("trials", name) and ".." not in directory.parts
    is_study = not directory.exists() or paths.lease.is_file() or not any(directory.iterdir())
    if directory.is_symlink() or not (is_named_so and is_study):
        raise StateError(
            f"study {name!r} is recorded to have its files in {directory}, which is no directory of a study's, so "
            "nothing was deleted."
        )


def _kept_as_before(given: StudyDefinition, recorded: StudyDefinition) -> StudyDefinition:
    return replace(
        given,
        tracking_uri=given.tracking_uri or recorded.tracking_uri,
        checkpoints=given.checkpoints or recorded.checkpoints,
    )


def _free_name(name: str, taken: Collection[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"


def _summary_of(name: str, store: StudyStore, state: StateDirectory) -> StudySummary:
    try:
        study = store.open(name)
        return _summary(read_record(study, state, store_uris(state, study.definition, storage=store.uri)))
    except Exception as error:  # what a damaged record, or one of another version, raises can be anything
        reason = str(error) if isinstance(error, SearchError) else f"{type(error).__name__}: {error}"
    try:
        is_running = is_held(state.study(name).lease)
    except SearchError:  # not even a name that could have files
        is_running = False
    return StudySummary(
        name=name,
        state=StudyState.RUNNING if is_running else StudyState.UNFINISHED,
        n_finished=0,
        n_trials=0,
        best_reward=None,
        updated_ms=None,
        error=reason,
    )


def _summary(record: StudyRecord) -> StudySummary:
    sign = record.definition.objective.direction.sign
    rewards = [
        trial.score.reward
        for trial in record.trials
        if trial.record.state.is_fully_trained and trial.score is not None and trial.score.best_epoch
    ]
    moments = [trial.record.finished_ms or trial.record.started_ms for trial in record.trials]
    return StudySummary(
        name=record.definition.study,
        state=record.state,
        n_finished=sum(trial.record.state.is_finished for trial in record.trials),
        n_trials=record.definition.n_trials,
        best_reward=max(rewards, key=lambda reward: sign * reward, default=None),
        updated_ms=max(moments, default=None),
    )

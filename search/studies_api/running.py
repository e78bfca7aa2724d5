"""Running a study, or what is left of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import replace

from search.checkpoint_store import CheckpointStore
from search.coordinator.edited_study import edits_of, kept_defaults, require_safe
from search.coordinator.interruption import interruption
from search.coordinator.past_taken import taken_past
from search.coordinator.preflight import inspect_study
from search.coordinator.reading import read_record
from search.coordinator.session import Session
from search.coordinator.stores import StoreUris, storage_uri, store_uris, with_stores
from search.coordinator.workforce import Workforce
from search.credentials import CHECKPOINTS_OPTION, require_credentials
from search.database_driver import require_driver
from search.engines.choice import EngineName, place_engine
from search.errors import StudyConflictError
from search.observer import SilentObserver, StudyObserver
from search.paths import StateDirectory
from search.recorded_best import fruitless_words, may_win
from search.storage import StudyStore
from search.studies_api.arguments import require_definition
from search.studies_api.reading import opened
from search.study_definition import DEFAULT_FINISH, FinishSettings, StudyDefinition
from search.study_record import StudyRecord, StudyState
from search.study_views import Edit, StudyPreview
from search.uris import masked


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
    check: bool = True,
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
        check: Whether a study that begins has its first batch looked at, which stops it if a check fails.

    Raises:
        StudyDefinitionError: If `definition` is none, model, data and study do not fit each other, or a check fails;
            nothing has been created then.
        StudyConflictError: If the name is taken by a study whose definition differs in what cannot be changed any more,
            or the study is running already.
        StudyFailedError: If the study cannot go on.
        StudyInterruptedError: If the user stopped it.
    """
    state = directory or StateDirectory.default()
    require_definition(definition)
    definition = with_stores(definition, storage=storage, tracking_uri=tracking_uri, checkpoints=checkpoints)
    require_driver(definition.tracking_uri or "", what="the MLflow store")
    with opened(storage_uri(definition.storage, state)) as store:
        found = _found(definition, store, state, new=new)
    return _run(found, state, observer=observer, devices=devices, engine=engine, ray_address=ray_address, check=check)


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
    found = _recorded(name, state, storage=storage, tracking_uri=tracking_uri, edited=edited)
    return _run(found, state, observer=observer, devices=devices, engine=engine, ray_address=ray_address)


def finish_study(
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
    """End a recorded study's search where it stands, and finish it: confirm, refit, read the test split once.

    Trials under way go on to their ends. A study without a `finish` gets `DEFAULT_FINISH`; one that has been finished
    is only read.

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
        StudyConflictError: If no trial of it can be confirmed yet, it is running already, or `edited` differs in what
            cannot be changed any more.
        StudyFailedError: If the study cannot go on.
        StudyInterruptedError: If the user stopped it.
    """
    state = directory or StateDirectory.default()
    found = _recorded(name, state, storage=storage, tracking_uri=tracking_uri, edited=edited, finish=DEFAULT_FINISH)
    record = found[1]
    if record is not None and not may_win(record.trials):
        fruitless = fruitless_words(record)
        goes_on = f"has no trial that could be confirmed yet; `zeroin resume {name}` goes on with its search."
        raise StudyConflictError(f"study {name!r}: {fruitless}" if fruitless else f"study {name!r} {goes_on}")
    return _run(
        found,
        state,
        observer=observer,
        devices=devices,
        engine=engine,
        ray_address=ray_address,
        ends_search=True,
    )


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
    check: bool = True,
    notify: Callable[[str], None] = lambda text: None,
) -> StudyPreview:
    """Inspect a study and say what `run_study` would do with these arguments, creating nothing.

    `notify` is told what the user should know meanwhile (that the cluster has no room, that a worker was lost).

    Raises:
        StudyDefinitionError: If `definition` is none, model, data and study do not fit each other, a check fails, or
            there is no such earlier study.
        StateError: If a study of that name cannot be read.
    """
    state = directory or StateDirectory.default()
    require_definition(definition)
    definition = with_stores(definition, storage=storage, tracking_uri=tracking_uri, checkpoints=checkpoints)
    with opened(storage_uri(definition.storage, state)) as store:
        definition, record, edits = _found(definition, store, state, new=new)
    kept = "" if record is None else kept_defaults(record.definition, definition)
    uris = store_uris(state, definition)
    _require_usable(uris)
    told: list[str] = []
    taken_past(definition, uris, notify=told.append)
    placed = place_engine(
        engine, devices=devices, resources=definition.resources, ray_address=ray_address, notify=notify
    )
    try:
        with interruption() as interrupted:
            workforce = Workforce(placed.engine, interruption=interrupted, n_workers=1)
            inspection = inspect_study(definition, workforce, notify=notify, check=check and record is None)
    finally:
        placed.engine.close(timeout_seconds=0.0)
    told += filter(None, [placed.notice, kept])
    inspection = replace(inspection, notices=(*inspection.notices, *told))
    return StudyPreview(
        inspection=inspection,
        n_workers=placed.engine.n_slots,
        storage=masked(uris.storage),
        tracking_uri=masked(uris.tracking),
        directory=str(state.study(definition.study).directory),
        name=definition.study,
        state=None if record is None else record.state,
        edits=edits,
        finish_has_begun=record is not None and record.finish_has_begun,
        is_packed=definition.resources.trials_per_device == "auto",
    )


def _require_usable(uris: StoreUris) -> None:
    """Check what can be checked of the stores before anything is created or started.

    Raises:
        StateError: If a driver is missing, or a password, or the checkpoints' URL cannot be used.
    """
    require_driver(uris.storage, what="the Optuna storage")
    require_driver(uris.tracking, what="the MLflow store")
    require_credentials(uris.tracking, what="the MLflow store", option="--tracking-uri")
    if uris.checkpoints is not None:
        require_credentials(uris.checkpoints, what="the checkpoints", option=CHECKPOINTS_OPTION)
        CheckpointStore(uris.checkpoints, pauses_seconds=())


_Found = tuple[StudyDefinition, StudyRecord | None, tuple[Edit, ...]]
"""A study to be run, what is recorded under its name, and what of its definition differs from that."""


def _recorded(
    name: str,
    state: StateDirectory,
    *,
    storage: str | None,
    tracking_uri: str | None,
    edited: StudyDefinition | None,
    finish: FinishSettings | None = None,
) -> _Found:
    """Return a recorded study, by `edited` if that is given; `finish` is how it ends if that does not say.

    Raises:
        StudyNotFoundError: If there is no such study.
    """
    with closing(StudyStore(storage_uri(storage, state), create=False)) as store:
        recorded = store.open(name).definition
        given = replace(edited or recorded, study=name)
        given = replace(given, finish=given.finish or finish)
        return _found(with_stores(given, storage=store.uri, tracking_uri=tracking_uri), store, state, new=False)


def _found(given: StudyDefinition, store: StudyStore | None, state: StateDirectory, *, new: bool) -> _Found:
    names = () if store is None else store.names()
    if new:
        return replace(given, study=_free_name(given.study, names)), None, ()
    if store is None or given.study not in names:
        return given, None, ()
    study = store.open(given.study)
    definition = replace(
        given,
        tracking_uri=given.tracking_uri or study.definition.tracking_uri,
        checkpoints=given.checkpoints or study.definition.checkpoints,
    )
    edits = edits_of(study, definition)
    return definition, read_record(study, state, store_uris(state, definition)), edits


def _run(
    found: _Found,
    state: StateDirectory,
    *,
    observer: StudyObserver | None,
    devices: str,
    engine: str,
    ray_address: str | None,
    check: bool = False,
    ends_search: bool = False,
) -> StudyRecord:
    definition, record, edits = found
    require_safe(edits, study=definition.study)
    if record is not None and record.state is StudyState.FINISHED and (not edits or record.finish_has_begun):
        return record
    uris = store_uris(state, definition)
    _require_usable(uris)
    observer = observer or SilentObserver()
    placed = place_engine(
        engine, devices=devices, resources=definition.resources, ray_address=ray_address, notify=observer.notice
    )
    if placed.notice:
        observer.notice(placed.notice)
    return Session(
        definition=definition,
        uris=uris,
        state=state,
        engine=placed.engine,
        observer=observer,
        check=check and record is None,
        ends_search=ends_search,
    ).run()


def _free_name(name: str, taken: Collection[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"

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
from collections.abc import Sequence
from dataclasses import dataclass, replace

from search.coordinator.interruption import interruption
from search.coordinator.preflight import inspect_study
from search.coordinator.reading import read_record
from search.coordinator.session import Session
from search.coordinator.stores import StoreUris, storage_uri, store_uris
from search.coordinator.workforce import Workforce
from search.engines.devices import device_slots
from search.engines.local import LocalEngine
from search.errors import StudyConflictError, StudyNotFoundError
from search.lease import Lease
from search.messages import InspectionResult
from search.observer import SilentObserver, StudyObserver
from search.paths import StateDirectory
from search.storage import StoredStudy, StudyStore
from search.study_definition import StudyDefinition
from search.study_file import differences
from search.study_record import StudyRecord, StudyState
from search.uris import masked


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """One study in a list.

    Attributes:
        n_finished: Finished search trials.
        n_trials: Search trials in all its stages.
        best_reward: Best finite reward so far, None without any.
        updated_ms: When a trial last began or ended, Unix time in milliseconds, None without any.
    """

    name: str
    state: StudyState
    n_finished: int
    n_trials: int
    best_reward: float | None
    updated_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPreview:
    """What a dry run found out.

    Attributes:
        inspection: Outcome of building everything once and running one batch.
        n_workers: Trials that would run at a time.
        storage: Where trials would be recorded, passwords masked.
        tracking_uri: Where runs would be logged, passwords masked.
        directory: Where checkpoints would go.
    """

    inspection: InspectionResult
    n_workers: int
    storage: str
    tracking_uri: str
    directory: str


def run_study(
    definition: StudyDefinition,
    *,
    directory: StateDirectory | None = None,
    observer: StudyObserver | None = None,
    devices: str = "auto",
    new: bool = False,
    storage: str | None = None,
    tracking_uri: str | None = None,
) -> StudyRecord:
    """Run a study to its end; one that is unfinished is resumed, one that is finished is only read.

    Args:
        definition: The study.
        directory: The state directory, ``$ZEROIN_HOME`` or ``mlruns`` by default.
        observer: Who watches, nobody by default.
        devices: See `search.engines.devices.device_slots`.
        new: Start another study under a numbered name (``digits-2``) if this name is taken.
        storage: Optuna storage URI, before the definition's own.
        tracking_uri: MLflow tracking URI, before the definition's own.

    Raises:
        StudyDefinitionError: If model, data and study do not fit each other; nothing has been created then.
        StudyConflictError: If the name is taken by a study with another definition, or the study is running already.
        StudyFailedError: If the study cannot go on.
        StudyInterruptedError: If the user stopped it.
    """
    state = directory or StateDirectory.default()
    definition = replace(
        definition, storage=storage or definition.storage, tracking_uri=tracking_uri or definition.tracking_uri
    )
    uris = store_uris(state, definition)
    existing = _existing(uris.storage, state)
    if new:
        definition = replace(definition, study=_free_name(definition.study, existing))
    elif definition.study in existing:
        record = existing[definition.study]
        _require_same(record.definition, definition)
        if record.state is StudyState.FINISHED:
            return record
    return _session(definition, uris, state, observer, devices).run()


def resume_study(
    name: str,
    *,
    directory: StateDirectory | None = None,
    observer: StudyObserver | None = None,
    devices: str = "auto",
    storage: str | None = None,
    tracking_uri: str | None = None,
) -> StudyRecord:
    """Continue a recorded study with the definition that it began with; a finished one is only read.

    Raises:
        StudyNotFoundError: If there is no such study.
        StudyConflictError: If it is running already.
        StudyFailedError: If the study cannot go on.
        StudyInterruptedError: If the user stopped it.
    """
    state = directory or StateDirectory.default()
    record = read_study(name, directory=state, storage=storage, tracking_uri=tracking_uri)
    if record.state is StudyState.FINISHED:
        return record
    uris = store_uris(state, record.definition, storage=storage, tracking_uri=tracking_uri)
    return _session(record.definition, uris, state, observer, devices).run()


def preview_study(
    definition: StudyDefinition,
    *,
    directory: StateDirectory | None = None,
    devices: str = "auto",
    storage: str | None = None,
    tracking_uri: str | None = None,
) -> StudyPreview:
    """Inspect a study, creating nothing.

    Raises:
        StudyDefinitionError: If model, data and study do not fit each other.
    """
    state = directory or StateDirectory.default()
    uris = store_uris(state, definition, storage=storage, tracking_uri=tracking_uri)
    slots = device_slots(devices, trials_per_device=definition.resources.trials_per_device)
    engine = LocalEngine(slots[:1])
    try:
        with interruption() as interrupted:
            inspection = inspect_study(definition, Workforce(engine, interruption=interrupted))
    finally:
        engine.close(timeout_seconds=0.0)
    return StudyPreview(
        inspection=inspection,
        n_workers=len(slots),
        storage=masked(uris.storage),
        tracking_uri=masked(uris.tracking),
        directory=str(state.study(definition.study).directory),
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
    """Summarize every study in a storage; none if the storage does not exist."""
    state = directory or StateDirectory.default()
    records = _existing(storage_uri(storage, state), state)
    return [_summary(record) for record in records.values()]


def delete_study(
    name: str,
    *,
    directory: StateDirectory | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
) -> Sequence[str]:
    """Remove a study from MLflow, its files, and Optuna, in this order: a half-deleted one can be deleted again.

    Returns:
        One line for each thing that was removed.

    Raises:
        StudyNotFoundError: If there is no such study.
        StudyConflictError: If it is running.
    """
    from search.tracking import delete_study as delete_tracked_study  # MLflow is slow to import; only this needs it

    state = directory or StateDirectory.default()
    record = read_study(name, directory=state, storage=storage, tracking_uri=tracking_uri)
    uris = store_uris(state, record.definition, storage=storage, tracking_uri=tracking_uri)
    paths = state.study(name)
    lease = Lease(state.make(paths.directory) / paths.lease.name, study=name)
    try:
        delete_tracked_study(uris.tracking, name)
        shutil.rmtree(paths.directory)
        store = StudyStore(uris.storage, create=False)
        store.delete(name)
        store.close()
    finally:
        lease.release()
    return [
        f"MLflow experiment {name!r} in {masked(uris.tracking)}",
        f"checkpoints and logs in {paths.directory}",
        f"Optuna study {name!r} with {len(record.trials)} trials in {masked(uris.storage)}",
    ]


def _session(
    definition: StudyDefinition,
    uris: StoreUris,
    state: StateDirectory,
    observer: StudyObserver | None,
    devices: str,
) -> Session:
    slots = device_slots(devices, trials_per_device=definition.resources.trials_per_device)
    return Session(
        definition=definition,
        uris=uris,
        state=state,
        engine=LocalEngine(slots),
        observer=observer or SilentObserver(),
    )


def _existing(storage: str, state: StateDirectory) -> dict[str, StudyRecord]:
    try:
        store = StudyStore(storage, create=False)
    except StudyNotFoundError:
        return {}
    try:
        return {name: _record(store.open(name), store.uri, state) for name in store.names()}
    finally:
        store.close()


def _record(study: StoredStudy, storage: str, state: StateDirectory) -> StudyRecord:
    return read_record(study, state, store_uris(state, study.definition, storage=storage))


def _require_same(recorded: StudyDefinition, given: StudyDefinition) -> None:
    changes = differences(recorded, given)
    if changes:
        lines = "\n".join(f"  {change}" for change in changes)
        raise StudyConflictError(
            f"study {given.study!r} exists and began with another definition:\n{lines}\n"
            f"Continue it as it began with `zeroin resume {given.study}`, or start another with --new."
        )


def _free_name(name: str, taken: dict[str, StudyRecord]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"


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

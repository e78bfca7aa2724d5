"""What is recorded of studies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from search.coordinator.reading import read_record
from search.coordinator.stores import default_storage, storage_uri, store_uris
from search.errors import SearchError, StudyNotFoundError
from search.lease import is_held
from search.paths import StateDirectory, StudyPaths
from search.recorded_best import winner
from search.storage import StoredStudy, StudyStore
from search.study_record import StudyRecord, StudyState
from search.study_views import FoundStudy, StudySummary
from search.uris import masked


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
    with closing(StudyStore(storage_uri(storage, state), create=False)) as store:
        study = store.open(name)
    uris = store_uris(state, study.definition, storage=store.uri, tracking_uri=tracking_uri)
    paths = home(study, store.uri, state)
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
    with closing(StudyStore(storage_uri(storage, state), create=False)) as store:
        study = store.open(name)
        return read_record(
            study, state, store_uris(state, study.definition, storage=store.uri, tracking_uri=tracking_uri)
        )


def list_studies(*, directory: StateDirectory | None = None, storage: str | None = None) -> Sequence[StudySummary]:
    """Summarize every study in a storage, those that cannot be read too; none if the storage does not exist."""
    state = directory or StateDirectory.default()
    with opened(storage_uri(storage, state)) as store:
        return [] if store is None else [_summary_of(name, store, state) for name in store.names()]


@contextmanager
def opened(storage: str) -> Iterator[StudyStore | None]:
    """Open a storage to read from; None if it does not exist."""
    try:
        store = StudyStore(storage, create=False)
    except StudyNotFoundError:
        yield None
        return
    with closing(store):
        yield store


def home(study: StoredStudy, storage: str, state: StateDirectory) -> StudyPaths:
    """Return the files of a study, which may be in another state directory, or have moved with this one's storage."""
    is_moved = not study.directory.exists() and storage == default_storage(state)
    return state.study(study.name) if is_moved else StudyPaths(directory=study.directory)


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
    best = winner(record)
    moments = [trial.record.finished_ms or trial.record.started_ms for trial in record.trials]
    return StudySummary(
        name=record.definition.study,
        state=record.state,
        n_finished=sum(trial.record.state.is_finished for trial in record.trials),
        n_trials=record.definition.n_trials,
        best_reward=None if best is None or best.score is None else best.score.reward,
        updated_ms=max(moments, default=None),
    )

"""Removing a study everywhere."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing

from search.checkpoint_store import CheckpointStore
from search.coordinator.stores import storage_uri, store_uris
from search.credentials import CHECKPOINTS_OPTION, require_credentials
from search.errors import StateError
from search.lease import Lease
from search.paths import StateDirectory, StudyPaths
from search.storage import StudyStore
from search.studies_api.reading import home
from search.uris import masked


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
    with closing(StudyStore(storage_uri(storage, state), create=False)) as store:
        study = store.open(name)
        uris = store_uris(state, study.definition, storage=store.uri, tracking_uri=tracking_uri)
        paths = home(study, store.uri, state)
        _require_ours(paths, name)
        require_credentials(uris.tracking, what="the MLflow store", option="--tracking-uri")
        require_credentials(uris.checkpoints or "", what="the checkpoints", option=CHECKPOINTS_OPTION)
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
    return [
        *([f"MLflow experiment {name!r} in {masked(uris.tracking)}"] if was_tracked else []),
        f"checkpoints and logs in {paths.directory}",
        *([f"checkpoints in {masked(remote)}"] if remote else []),
        f"Optuna study {name!r} in {masked(uris.storage)}",
    ]


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

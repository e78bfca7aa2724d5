"""A study's place on the disk: found again when it is resumed, and never mixed with another study's."""

from __future__ import annotations

from search.errors import StudyConflictError
from search.observer import StudyObserver
from search.past import Past
from search.paths import StudyPaths
from search.storage import StoredStudy, StudyStore
from search.study_definition import StudyDefinition


def open_or_create(
    store: StudyStore,
    definition: StudyDefinition,
    *,
    paths: StudyPaths,
    observer: StudyObserver,
    past: Past | None = None,
) -> tuple[StoredStudy, bool]:
    """Return the study and whether it was there already.

    What an earlier study of the same name left in the directory is moved into a directory of its own there.

    Args:
        store: Of the studies.
        definition: The study.
        paths: Its files.
        observer: Told of what was moved.
        past: What it takes from before if it is new.

    Raises:
        StudyConflictError: If the study's checkpoints and logs are elsewhere.
    """
    if definition.study in store.names():
        study = store.open(definition.study)
        _require_home(study, paths)
        return study, True
    study = store.create(definition, directory=paths.directory, past=past)
    _move_strangers(study, paths, observer)
    return study, False


def _require_home(study: StoredStudy, paths: StudyPaths) -> None:
    """Refuse to continue a study away from its checkpoints, unless its directory has been moved here."""
    if study.directory == paths.directory:
        return
    is_here = paths.logged_keys("trial") or not study.n_trials
    if study.directory.exists() or not is_here:
        raise StudyConflictError(
            f"study {study.name!r} lives in {study.directory}, not in {paths.directory}: its checkpoints and its lease "
            f"are there. Run it from there (ZEROIN_HOME={study.directory.parent.parent}), or give yours another name."
        )
    study.record_directory(paths.directory)


def _move_strangers(study: StoredStudy, paths: StudyPaths, observer: StudyObserver) -> None:
    strangers = sorted(
        path for path in paths.directory.iterdir() if path.is_dir() and not path.name.startswith("before-")
    )
    if strangers:
        aside = paths.directory / f"before-{study.uid[:8]}"
        aside.mkdir()
        for path in strangers:
            path.rename(aside / path.name)
        observer.notice(f"{len(strangers)} trials of an earlier study of this name were moved to {aside}.")

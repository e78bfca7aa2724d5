"""What STUDY on the command line means: a study file, else a study that exists, else a built-in one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search.cli.api import StudiesApi
from search.coordinator.stores import storage_uri
from search.errors import StudyDefinitionError, StudyNotFoundError, did_you_mean
from search.paths import StateDirectory
from search.study_definition import StudyDefinition
from search.study_file import built_in_studies, error_in_file, load_study_file, with_overrides
from search.study_record import StudyRecord
from search.study_views import FoundStudy
from search.uris import masked

_FILE_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where studies are looked for.

    Attributes:
        directory: The state directory.
        storage: Optuna storage URL given on the command line, or None.
        tracking_uri: MLflow tracking URI given on the command line, or None.
    """

    directory: StateDirectory
    storage: str | None
    tracking_uri: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyToRun:
    """A study that STUDY stands for.

    Attributes:
        definition: The study.
        file: The file that it was read from, None for a recorded study.
        overrides: ``key=value`` texts of ``--set`` that went into it.
    """

    definition: StudyDefinition
    file: Path | None
    overrides: Sequence[str]


def names_a_file(study: str) -> bool:
    """Whether STUDY is meant as a file: one of that name exists, or it looks like a path."""
    separators = [separator for separator in (os.sep, os.altsep) if separator]
    return study.endswith(_FILE_SUFFIXES) or any(each in study for each in separators) or Path(study).is_file()


def study_to_run(study: str, *, api: StudiesApi, stores: Stores, overrides: Sequence[str]) -> StudyToRun:
    """Return what `zeroin run STUDY` means.

    Args:
        study: A file, a recorded study's name or a built-in one's.
        api: Where recorded studies are read.
        stores: Where they are.
        overrides: ``key=value`` texts of ``--set``, in order.

    Raises:
        StudyNotFoundError: If it is none of them.
        StudyDefinitionError: If the file, or an override, breaks a rule.
    """
    if names_a_file(study):
        file = _existing_file(study)
        return StudyToRun(definition=load_study_file(file, overrides=overrides), file=file, overrides=overrides)
    found = _found(study, api=api, stores=stores)
    if found is not None:
        return StudyToRun(definition=with_overrides(found.definition, overrides), file=None, overrides=overrides)
    built_in = built_in_studies()
    if study in built_in:
        file = built_in[study]
        return StudyToRun(definition=load_study_file(file, overrides=overrides), file=file, overrides=overrides)
    raise _not_found(study, api=api, stores=stores)


@contextmanager
def errors_in(study: StudyToRun) -> Iterator[None]:
    """Add file and line, or the ``--set`` text, to an error of the study that shows only when it is looked into."""
    try:
        yield
    except StudyDefinitionError as error:
        if study.file is None or error.file is not None or not error.key:
            raise
        message = str(error).removeprefix(f"{error.key}: ")
        raise error_in_file(study.file, error.key, message, overrides=study.overrides) from error


def read_recorded(study: str, *, api: StudiesApi, stores: Stores) -> StudyRecord:
    """Return what is recorded of STUDY; a file stands for the study of its name, in the stores that it gives.

    Raises:
        StudyNotFoundError: If no such study has been run.
    """
    name, chosen, _ = recorded_name(study, stores=stores)
    recorded = _recorded(name, api=api, stores=chosen)
    if recorded is None:
        raise _not_run(study, name, api=api, stores=chosen)
    return recorded


def find_recorded(study: str, *, api: StudiesApi, stores: Stores) -> tuple[FoundStudy, Stores]:
    """Return what STUDY means as `read_recorded` does, but without its trials, and the stores that it is in.

    Raises:
        StudyNotFoundError: If no such study has been run.
    """
    name, chosen, _ = recorded_name(study, stores=stores)
    found = _found(name, api=api, stores=chosen)
    if found is None:
        raise _not_run(study, name, api=api, stores=chosen)
    return found, chosen


def recorded_name(study: str, *, stores: Stores) -> tuple[str, Stores, StudyDefinition | None]:
    """Return the name of the study that STUDY means, its stores, and what its file says if STUDY names one.

    A study file may choose the stores that the command line leaves open.
    """
    if not names_a_file(study):
        return study, stores, None
    definition = load_study_file(_existing_file(study))
    chosen = Stores(
        directory=stores.directory,
        storage=stores.storage or definition.storage,
        tracking_uri=stores.tracking_uri or definition.tracking_uri,
    )
    return definition.study, chosen, definition


def storage_address(stores: Stores) -> str:
    """Return the URI of the Optuna storage in use, password masked."""
    return masked(storage_uri(stores.storage, stores.directory))


def _existing_file(study: str) -> Path:
    if Path(study).is_dir():
        raise StudyNotFoundError(f"a study file must be a file, but {study!r} is a directory.")
    if not Path(study).is_file():
        raise StudyNotFoundError(f"there is no study file {study!r}.{_hint_beside(Path(study))}")
    return Path(study)


def _hint_beside(file: Path) -> str:
    beside = (
        [each.name for each in file.parent.iterdir() if each.suffix in _FILE_SUFFIXES and each.is_file()]
        if file.parent.is_dir()
        else []
    )
    return did_you_mean(file.name, beside)


def _recorded(name: str, *, api: StudiesApi, stores: Stores) -> StudyRecord | None:
    try:
        return api.read_study(
            name, directory=stores.directory, storage=stores.storage, tracking_uri=stores.tracking_uri
        )
    except StudyNotFoundError:
        return None


def _found(name: str, *, api: StudiesApi, stores: Stores) -> FoundStudy | None:
    try:
        return api.find_study(
            name, directory=stores.directory, storage=stores.storage, tracking_uri=stores.tracking_uri
        )
    except StudyNotFoundError:
        return None


def _not_run(study: str, name: str, *, api: StudiesApi, stores: Stores) -> StudyNotFoundError:
    if name == study and name not in built_in_studies():
        return _not_found(name, api=api, stores=stores)
    return StudyNotFoundError(
        f"study {name!r} has not been run yet: it is not in {storage_address(stores)}. `zeroin run {study}` starts it."
    )


def _not_found(name: str, *, api: StudiesApi, stores: Stores) -> StudyNotFoundError:
    recorded = [each.name for each in api.list_studies(directory=stores.directory, storage=stores.storage)]
    known = sorted({*recorded, *built_in_studies()})
    return StudyNotFoundError(
        f"{name!r} is no study file, no study in {storage_address(stores)} and no built-in study."
        f"{did_you_mean(name, known) or ' There are: ' + ', '.join(known) + '.'}"
    )

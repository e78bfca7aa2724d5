"""All studies of an Optuna storage."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from search.errors import StateError, StudyConflictError, StudyNotFoundError, did_you_mean
from search.optuna_storage import open_storage
from search.past import Past
from search.patience import Patient
from search.record_codec import past_to_plain
from search.storage.stored_definition import definition_to_stored
from search.storage.stored_study import DEFINITION, HOME, PAST, UID, StoredStudy
from search.study_definition import Direction, StudyDefinition
from search.study_file import masked_warm_start
from search.uris import local_path, masked

_RECORDING_SECONDS = 1.0


class StudyStore:
    """All studies of one Optuna storage.

    Args:
        uri: ``journal://`` and the path of a journal file, or a database URL for Optuna's ``RDBStorage``.
        create: Whether to create a local store that does not exist yet.
        patience_seconds: How long a call to a store that is locked or away is repeated; by default a quarter of an
            hour for a server, a minute for a file.
        notify: Told when the store is waited for, and when it is back.

    Raises:
        StudyNotFoundError: If a local store does not exist and `create` is false.
        StateError: If the storage cannot be opened.
    """

    def __init__(
        self,
        uri: str,
        *,
        create: bool,
        patience_seconds: float | None = None,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.uri = uri
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = local_path(uri)
        try:
            if path is not None and not path.exists():
                if not create:
                    raise StudyNotFoundError(f"there is no study yet: {masked(uri)} does not exist.")
                path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"the Optuna storage {masked(uri)} cannot be made: {error.strerror or error}.") from error
        self._opened = open_storage(uri, patience_seconds=patience_seconds, notify=notify)
        self._storage = cast(BaseStorage, Patient(self._opened.storage, patience=self._opened.patience))

    def names(self) -> tuple[str, ...]:
        """Names of the zeroin studies, sorted; studies that other programs made are left out."""
        return tuple(
            sorted(study.study_name for study in self._storage.get_all_studies() if DEFINITION in study.user_attrs)
        )

    def create(self, definition: StudyDefinition, *, directory: Path, past: Past | None = None) -> StoredStudy:
        """Record a new study; one that a crash left half recorded is recorded whole.

        Args:
            definition: The study; passwords in the URIs of its stores are not recorded.
            directory: Where its checkpoints and logs are.
            past: What it takes from before, None for nothing.

        Raises:
            StateError: If the storage has a study of that name that zeroin did not make.
            StudyConflictError: If another coordinator begins a study of that name at this moment.
        """
        directions = [
            StudyDirection.MAXIMIZE if direction is Direction.MAXIMIZE else StudyDirection.MINIMIZE
            for direction in definition.objective.directions
        ]
        try:
            study_id = self._storage.create_new_study(directions, definition.study)
        except optuna.exceptions.DuplicatedStudyError:
            study_id = self._storage.get_study_id_from_name(definition.study)
            self._require_abandoned(study_id, definition.study)
        uid = uuid.uuid4().hex
        self._storage.set_study_user_attr(study_id, UID, uid)
        self._storage.set_study_user_attr(study_id, HOME, os.fspath(directory))
        for name, part in self._parts_of(past, study_id).items():
            self._storage.set_study_user_attr(study_id, name, part)
        self._storage.set_study_user_attr(study_id, DEFINITION, definition_to_stored(_public(definition)))
        self._opened.sync()
        study = StoredStudy(self._opened, study_id)
        if study.uid != uid:
            raise _begun_elsewhere(definition.study)
        return study

    def _parts_of(self, past: Past | None, study_id: int) -> dict[str, Any]:
        """Return the attributes that hold it, and None for those that a half-recorded study has beside them."""
        there = (name for name in self._storage.get_study_user_attrs(study_id) if name.startswith(PAST))
        parts = {} if past is None else past_to_plain(past)
        return {**dict.fromkeys(there), **{f"{PAST}{name}": part for name, part in parts.items()}}

    def _require_abandoned(self, study_id: int, name: str) -> None:
        """Check that a study is the half-recorded one of a crash, by giving whoever records it now time to finish."""
        deadline = time.monotonic() + _RECORDING_SECONDS
        while True:
            attributes = self._storage.get_study_user_attrs(study_id)
            if DEFINITION in attributes:
                raise _begun_elsewhere(name)
            known = {UID, HOME, *(name for name in attributes if name.startswith(PAST))}
            if set(attributes) - known or self._storage.get_n_trials(study_id):
                raise StateError(
                    f"{masked(self.uri)} has an Optuna study {name!r} that zeroin did not make. "
                    "Give yours another name (`study:` in the file)."
                )
            if time.monotonic() > deadline:
                return
            time.sleep(_RECORDING_SECONDS / 10)

    def open(self, name: str) -> StoredStudy:
        """Return the study called `name`.

        Raises:
            StudyNotFoundError: If there is none; the message lists those there are.
        """
        names = self.names()
        if name not in names:
            raise StudyNotFoundError(
                f"no study {name!r} in {masked(self.uri)}; it has {', '.join(names) or 'none'}."
                f"{did_you_mean(name, names)}"
            )
        return StoredStudy(self._opened, self._storage.get_study_id_from_name(name))

    def delete(self, name: str) -> None:
        """Remove the study and its trials from the storage; one that is gone already is no error."""
        with suppress(KeyError):  # also of a repeated call, whose first answer was lost
            self._storage.delete_study(self._storage.get_study_id_from_name(name))

    def close(self) -> None:
        """Give database connections back."""
        self._opened.close()


def _begun_elsewhere(name: str) -> StudyConflictError:
    return StudyConflictError(
        f"study {name!r} was begun elsewhere at the same moment. Give yours another name (`study:` in the file)."
    )


def _public(definition: StudyDefinition) -> StudyDefinition:
    """Return the definition as everybody may read it who can read the storage: without the stores' passwords."""
    given = (definition.storage, definition.tracking_uri, definition.checkpoints)
    storage, tracking_uri, checkpoints = (uri and masked(uri) for uri in given)
    return replace(
        definition,
        storage=storage,
        tracking_uri=tracking_uri,
        checkpoints=checkpoints,
        warm_start=masked_warm_start(definition.warm_start),
    )

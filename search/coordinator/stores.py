"""Which stores a study uses: the command line's, else the study file's, else files in the state directory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from search.credentials import with_credentials
from search.errors import StateError
from search.known_secrets import remember
from search.paths import StateDirectory
from search.study_definition import StudyDefinition
from search.uris import STORAGE_EXPECTED, absolute_uri, is_storage, masked


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUris:
    """URIs of the stores.

    Attributes:
        storage: Of Optuna: ``journal://…`` or a database URL.
        tracking: Of MLflow.
        checkpoints: Of the checkpoints' directory, or None if they are in the state directory.
    """

    storage: str
    tracking: str
    checkpoints: str | None


def default_storage(state: StateDirectory) -> str:
    """Return the URI of the journal file in the state directory."""
    return f"journal://{state.optuna_journal}"


def default_tracking(state: StateDirectory) -> str:
    """Return the URI of the MLflow database in the state directory."""
    return f"sqlite:///{state.mlflow_database}"


def store_uris(
    state: StateDirectory,
    definition: StudyDefinition,
    *,
    storage: str | None = None,
    tracking_uri: str | None = None,
) -> StoreUris:
    """Return the stores of a study.

    Args:
        state: The state directory.
        definition: The study, whose own URIs come second.
        storage: The command line's, which comes first; a path ending in ``.journal`` or ``.log`` is a journal file.
        tracking_uri: Likewise; a plain path is a directory of MLflow's.

    Returns:
        The URIs, local paths absolute: a relative one is meant from the working directory of this moment. Where the
        definition is a recorded one, which tells no passwords, they come from the study's directory.

    Raises:
        StateError: If `storage` can name none.
    """
    tracking = absolute_uri(tracking_uri or definition.tracking_uri or default_tracking(state))
    credentials = state.study(definition.study).credentials
    checkpoints = None if definition.checkpoints is None else absolute_uri(definition.checkpoints)
    uris = StoreUris(
        storage=storage_uri(storage or definition.storage, state),
        tracking=with_credentials(credentials, tracking),
        checkpoints=None if checkpoints is None else with_credentials(credentials, checkpoints),
    )
    for uri in (uris.storage, uris.tracking, uris.checkpoints or ""):
        remember(uri)
    return uris


def with_stores(
    definition: StudyDefinition,
    *,
    storage: str | None = None,
    tracking_uri: str | None = None,
    checkpoints: str | None = None,
) -> StudyDefinition:
    """Return the definition with the command line's stores before its own, absolute as in `store_uris`.

    A store that neither names stays unnamed: the default one moves with the state directory.

    Raises:
        StateError: If `storage` can name none.
    """
    storage = storage or definition.storage
    tracking_uri = tracking_uri or definition.tracking_uri
    checkpoints = checkpoints or definition.checkpoints
    return replace(
        definition,
        storage=None if storage is None else given_storage(storage),
        tracking_uri=None if tracking_uri is None else absolute_uri(tracking_uri),
        checkpoints=None if checkpoints is None else absolute_uri(checkpoints),
    )


def storage_uri(given: str | None, state: StateDirectory) -> str:
    """Return the Optuna storage URI for what the user gave, None for the default; a local path becomes absolute.

    Raises:
        StateError: If it can name none.
    """
    return default_storage(state) if given is None else given_storage(given)


def given_storage(given: str) -> str:
    """Return the Optuna storage URI for what the user gave; a local path becomes absolute.

    Raises:
        StateError: If it can name none.
    """
    if not is_storage(given):
        raise StateError(f"the Optuna storage must be {STORAGE_EXPECTED}, but got {masked(given)!r}.")
    return absolute_uri(given if "://" in given else f"journal://{given}")

"""Which stores a study uses: the command line's, else the study file's, else files in the state directory."""

from __future__ import annotations

from dataclasses import dataclass

from search.paths import StateDirectory
from search.study_definition import StudyDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUris:
    """URIs of the two stores.

    Attributes:
        storage: Of Optuna: ``journal://…`` or a database URL.
        tracking: Of MLflow.
    """

    storage: str
    tracking: str


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
        tracking_uri: Likewise.
    """
    return StoreUris(
        storage=storage_uri(storage or definition.storage, state),
        tracking=tracking_uri or definition.tracking_uri or default_tracking(state),
    )


def storage_uri(given: str | None, state: StateDirectory) -> str:
    """Return the Optuna storage URI for what the user gave, None for the default."""
    if given is None:
        return default_storage(state)
    if "://" not in given and given.endswith((".journal", ".log")):
        return f"journal://{given}"
    return given

"""Find or create a study's experiment, also where a deleted one or another study's occupies the name."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from search.tracking.database import is_database

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

UID_TAG = "zeroin.study_uid"
"""Tag of an experiment and of each of its runs: the study that it belongs to."""

_UID_CHARACTERS = 8
_ATTEMPTS = 3


def experiment_names(study_name: str, study_uid: str) -> tuple[str, str]:
    """Return the names that the study's experiment can have; the second one where the first one is another's."""
    return study_name, f"{study_name}-{study_uid[:_UID_CHARACTERS]}"


def open_experiment(
    client: MlflowClient,
    *,
    study_name: str,
    study_uid: str,
    tracking_uri: str,
    artifact_root: Path,
    tags: Mapping[str, str],
) -> Experiment:
    """Return the study's active experiment, created if need be.

    Args:
        client: MLflow's client.
        study_name: Name of the experiment, unless the experiment of that name belongs to another study.
        study_uid: The study's unique identifier.
        tracking_uri: What the client talks to; a server decides itself where artifacts go.
        artifact_root: Directory of all experiments' artifacts, for a database without a server.
        tags: Tags of the experiment; one that it has keeps its value, which its users may have changed.

    Raises:
        MlflowException: If the store refuses.
    """
    tags = {**tags, UID_TAG: study_uid}
    found = find_experiment(client, study_name=study_name, study_uid=study_uid)
    for _ in range(_ATTEMPTS):
        found = found or _take_name(
            client,
            _available_name(client, study_name, study_uid),
            tracking_uri=tracking_uri,
            artifact_root=artifact_root,
            tags=tags,
        )
        if found is not None:
            break
    else:
        raise RuntimeError(f"experiment {study_name!r} is created and taken by others again and again")
    for key, text in tags.items():
        if key not in found.tags:
            client.set_experiment_tag(found.experiment_id, key, text)
    return found


def find_experiment(client: MlflowClient, *, study_name: str, study_uid: str) -> Experiment | None:
    """Return the study's own active experiment, under either of its names, or None if there is none."""
    for name in experiment_names(study_name, study_uid):
        found = client.get_experiment_by_name(name)
        if found is not None and _is_active(found) and owner_uid(client, found) == study_uid:
            return found
    return None


def owner_uid(client: MlflowClient, experiment: Experiment) -> str | None:
    """Return the identifier of the study that has the experiment.

    Returns:
        Empty if the experiment holds runs that tell no such identifier, so somebody else's; None if it is nobody's:
        an experiment without runs that a user made, with permissions perhaps, for the study to come.
    """
    from mlflow.entities import ViewType

    if UID_TAG in experiment.tags:
        return str(experiment.tags[UID_TAG])
    oldest = client.search_runs(
        [experiment.experiment_id],
        run_view_type=ViewType.ALL,
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    return str(oldest[0].data.tags.get(UID_TAG, "")) if oldest else None


def free_name(client: MlflowClient, experiment: Experiment) -> None:
    """Rename an experiment out of the way, and leave it deleted; only an active one can be renamed."""
    if not _is_active(experiment):
        client.restore_experiment(experiment.experiment_id)
    client.rename_experiment(experiment.experiment_id, f"{experiment.name} (deleted {time.time_ns() // 1_000_000})")
    client.delete_experiment(experiment.experiment_id)


def _available_name(client: MlflowClient, study_name: str, study_uid: str) -> str:
    plain, own = experiment_names(study_name, study_uid)
    found = client.get_experiment_by_name(plain)
    is_free = found is None or not _is_active(found) or owner_uid(client, found) in (None, study_uid)
    return plain if is_free else own


def _take_name(
    client: MlflowClient, name: str, *, tracking_uri: str, artifact_root: Path, tags: Mapping[str, str]
) -> Experiment | None:
    """Return the experiment of that name, created if there is none; None if another study was faster."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None and _is_active(found):
        return found
    if found is not None:
        free_name(client, found)
    location = str(artifact_root / name) if is_database(tracking_uri) else None
    try:
        # The owner is told in the call that creates it, so that a rival sees at once whose it is.
        created = client.create_experiment(name, artifact_location=location, tags=dict(tags))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return None
    return client.get_experiment(created)


def _is_active(experiment: Experiment) -> bool:
    return bool(experiment.lifecycle_stage == "active")

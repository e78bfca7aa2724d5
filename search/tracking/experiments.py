"""Find or create a study's experiment, also where a deleted one still occupies the name."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from search.tracking.database import is_database

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


def open_experiment(
    client: MlflowClient, *, name: str, tracking_uri: str, artifact_root: Path, tags: Mapping[str, str]
) -> str:
    """Return the id of the active experiment of that name, created if need be.

    Args:
        client: MLflow's client.
        name: Name of the experiment.
        tracking_uri: What the client talks to; a server decides itself where artifacts go.
        artifact_root: Directory of all experiments' artifacts, for a database without a server.
        tags: Tags of the experiment; one that it has keeps its value, which its users may have changed.
    """
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "active":
        for key, text in tags.items():
            if key not in found.tags:
                client.set_experiment_tag(found.experiment_id, key, text)
        return str(found.experiment_id)
    if found is not None:
        free_name(client, found)
    location = str(artifact_root / name) if is_database(tracking_uri) else None
    return str(client.create_experiment(name, artifact_location=location, tags=dict(tags)))


def free_name(client: MlflowClient, experiment: Experiment) -> None:
    """Rename an experiment out of the way, and leave it deleted; only an active one can be renamed."""
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)
    client.rename_experiment(experiment.experiment_id, f"{experiment.name} (deleted {time.time_ns() // 1_000_000})")
    client.delete_experiment(experiment.experiment_id)

"""Remove a study from MLflow, so that its name is free again."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from search.errors import StateError
from search.tracking.database import is_database
from search.tracking.experiments import experiment_names, free_name, owner_uid
from search.tracking.paging import all_pages
from search.tracking.quiet import prepare_environment, quiet_environment, silenced_thread
from search.tracking.registry import remove_models
from search.uris import local_path, masked, masked_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


def delete_study(tracking_uri: str, study_name: str, *, study_uid: str) -> bool:
    """Remove the study's registered models, and its experiment with its runs and artifacts; other studies' stay.

    From a database all goes for good, as `mlflow gc` does it. A server does not let its clients do that: there the
    experiment is renamed and marked deleted, and its administrator's `mlflow gc` removes it.

    Returns:
        Whether there was an experiment of that study.

    Raises:
        StateError: If the store cannot be reached or refuses.
    """
    file = local_path(tracking_uri)
    if file is not None and not file.exists():  # do not create a database to find nothing in it
        return False
    prepare_environment()
    import mlflow

    try:
        with silenced_thread():
            client = mlflow.MlflowClient(tracking_uri=tracking_uri)
            found = [client.get_experiment_by_name(name) for name in experiment_names(study_name, study_uid)]
            own = [each for each in found if each is not None and owner_uid(client, each) == study_uid]
            remove_models(client, study_name, study_uid=study_uid)
            for experiment in own:
                _delete(client, experiment, tracking_uri=tracking_uri)
    except StateError:
        raise
    except Exception as error:  # MLflow, database drivers, HTTP and the OS have no base class in common
        text = masked_text(str(error), tracking_uri).partition("\n")[0]
        raise StateError(
            f"{study_name!r} could not be deleted from MLflow at {masked(tracking_uri)}: {text}"
        ) from error
    return bool(own)


def _delete(client: MlflowClient, experiment: Experiment, *, tracking_uri: str) -> None:
    if not is_database(tracking_uri):
        free_name(client, experiment)
        return
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)
    runs, models = _run_ids(client, experiment), _model_ids(client, experiment)
    free_name(client, client.get_experiment(experiment.experiment_id))
    _collect_garbage(tracking_uri, experiment_id=experiment.experiment_id, run_id=runs[0], model_ids=models)
    _remove_empty_directories(experiment.artifact_location, [*runs, *models])


def _run_ids(client: MlflowClient, experiment: Experiment) -> list[str]:
    """Return the ids of all runs, at least one: garbage collection takes an empty list for *every deleted run*."""
    from mlflow.entities import ViewType

    runs = all_pages(client.search_runs, [experiment.experiment_id], run_view_type=ViewType.ALL)
    return [run.info.run_id for run in runs] or [client.create_run(experiment.experiment_id).info.run_id]


def _model_ids(client: MlflowClient, experiment: Experiment) -> list[str]:
    """Return the ids of all logged models, marked deleted; at least one, for the same reason."""
    models = [model.model_id for model in all_pages(client.search_logged_models, [experiment.experiment_id])]
    models = models or [client.create_logged_model(experiment.experiment_id).model_id]
    for model in models:
        client.delete_logged_model(model)
    return models


def _collect_garbage(tracking_uri: str, *, experiment_id: str, run_id: str, model_ids: list[str]) -> None:
    """Run `mlflow gc` on one deleted experiment; it finds the experiment's other runs itself.

    In a process of its own, since it works through MLflow's global state and prints.

    Raises:
        StateError: If it fails.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mlflow", "gc", "--experiment-ids", experiment_id),
            *("--run-ids", run_id, "--logged-model-ids", ",".join(model_ids)),
        ],
        env={**quiet_environment(), "MLFLOW_TRACKING_URI": tracking_uri},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last_line = masked_text(done.stderr.strip(), tracking_uri).rpartition("\n")[2]
        raise StateError(f"`mlflow gc` failed on {masked(tracking_uri)}: {last_line}")


def _remove_empty_directories(artifact_location: str, names: list[str]) -> None:
    """Remove what garbage collection leaves of a local artifact location; nothing that holds a file."""
    location = Path(artifact_location.removeprefix("file://"))
    if not location.is_absolute():
        return
    for directory in (*(location / name for name in names), *(location / "models" / name for name in names)):
        with suppress(OSError):
            directory.rmdir()
    for directory in (location / "models", location):
        with suppress(OSError):
            directory.rmdir()

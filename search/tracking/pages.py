"""Where in MLflow's UI a study is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from search.tracking.quiet import prepare_environment, silenced_thread
from search.tracking.runs import STUDY_TAG
from search.tracking.saved_view import MACHINE_LEARNING, VIEW_TAG, run_path, runs_path
from search.uris import local_path

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

EXPERIMENTS_PATH = f"/#/experiments?{urlencode(MACHINE_LEARNING)}"
"""The list of experiments; the plain address opens a page about language models."""

_MAX_STUDIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPages:
    """Pages of one study, each to be appended to the address of a server.

    Attributes:
        trials: Table of its trials, best first.
        charts: Parallel coordinates and curves of its trials.
        study: The study's own run, or None if it has none.
    """

    trials: str
    charts: str
    study: str | None


def study_pages(tracking_uri: str, study_name: str) -> StudyPages | None:
    """Return the study's pages, or None if the store has none or does not answer: its server will say why."""
    client = _client(tracking_uri)
    if client is None:
        return None
    try:
        with silenced_thread():
            experiment = client.get_experiment_by_name(study_name)
            if experiment is None or experiment.lifecycle_stage != "active":
                return None
            return _pages(client, experiment)
    except Exception:  # MLflow, database drivers, HTTP and the OS have no base class in common
        return None


def latest_study_pages(tracking_uri: str) -> dict[str, StudyPages]:
    """Return the pages of the latest studies by name, the last one first; empty if the store does not answer."""
    client = _client(tracking_uri)
    if client is None:
        return {}
    try:
        with silenced_thread():
            experiments = client.search_experiments(order_by=["last_update_time DESC"])
            studies = [experiment for experiment in experiments if VIEW_TAG in experiment.tags][:_MAX_STUDIES]
            return {experiment.name: _pages(client, experiment) for experiment in studies}
    except Exception:  # likewise
        return {}


def _client(tracking_uri: str) -> MlflowClient | None:
    """Return a client, or None where there is no database yet: none is created to find nothing in it."""
    file = local_path(tracking_uri)
    if file is not None and not file.exists():
        return None
    prepare_environment()
    import mlflow

    return mlflow.MlflowClient(tracking_uri=tracking_uri)


def _pages(client: MlflowClient, experiment: Experiment) -> StudyPages:
    experiment_id, has_view = str(experiment.experiment_id), VIEW_TAG in experiment.tags
    parents = client.search_runs([experiment_id], filter_string=f"tags.`{STUDY_TAG}` LIKE '%'", max_results=1)
    return StudyPages(
        trials=runs_path(experiment_id, has_view=has_view, as_charts=False),
        charts=runs_path(experiment_id, has_view=has_view, as_charts=True),
        study=run_path(experiment_id, parents[0].info.run_id) if parents else None,
    )

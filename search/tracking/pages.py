"""Where in MLflow's UI a study is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from search.tracking.database import sqlite_file
from search.tracking.quiet import prepare_environment, silenced_thread
from search.tracking.runs import STUDY_TAG
from search.tracking.saved_view import MACHINE_LEARNING, VIEW_TAG, run_path, runs_path

if TYPE_CHECKING:
    from mlflow.entities import Experiment

EXPERIMENTS_PATH = f"/#/experiments?{urlencode(MACHINE_LEARNING)}"
"""The list of experiments; the plain address opens a page about language models."""


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
    file = sqlite_file(tracking_uri)
    if file is not None and not file.exists():  # do not create a database to find nothing in it
        return None
    prepare_environment()
    import mlflow

    try:
        with silenced_thread():
            client = mlflow.MlflowClient(tracking_uri=tracking_uri)
            experiment = client.get_experiment_by_name(study_name)
            if experiment is None or experiment.lifecycle_stage != "active":
                return None
            parents = client.search_runs(
                [experiment.experiment_id], filter_string=f"tags.`{STUDY_TAG}` = '{study_name}'", max_results=1
            )
    except Exception:  # MLflow, database drivers, HTTP and the OS have no base class in common
        return None
    return _pages(experiment, parent_id=parents[0].info.run_id if parents else None)


def _pages(experiment: Experiment, *, parent_id: str | None) -> StudyPages:
    experiment_id, has_view = str(experiment.experiment_id), VIEW_TAG in experiment.tags
    return StudyPages(
        trials=runs_path(experiment_id, has_view=has_view, as_charts=False),
        charts=runs_path(experiment_id, has_view=has_view, as_charts=True),
        study=None if parent_id is None else run_path(experiment_id, parent_id),
    )

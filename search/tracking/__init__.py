"""The border to MLflow: the only package that touches it, and only where it is used, never on import."""

from __future__ import annotations

from search.tracking.deletion import delete_study
from search.tracking.environment import run_tags
from search.tracking.pages import EXPERIMENTS_PATH, StudyPages, latest_study_pages, study_pages
from search.tracking.past_runs import past_runs
from search.tracking.server import ServerCommand, ui_command
from search.tracking.tracker import MlflowTracker

__all__ = [
    "EXPERIMENTS_PATH",
    "MlflowTracker",
    "ServerCommand",
    "StudyPages",
    "delete_study",
    "latest_study_pages",
    "past_runs",
    "run_tags",
    "study_pages",
    "ui_command",
]

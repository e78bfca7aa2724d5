"""The border to MLflow: the only package that touches it, and only where it is used, never on import."""

from __future__ import annotations

from search.tracking.deletion import delete_study
from search.tracking.environment import run_tags
from search.tracking.server import ServerCommand, ui_command
from search.tracking.tracker import MlflowTracker

__all__ = ["MlflowTracker", "ServerCommand", "delete_study", "run_tags", "ui_command"]

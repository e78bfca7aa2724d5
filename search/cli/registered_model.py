"""The registered model of a finished study, and how to predict with it."""

from __future__ import annotations

from rich.console import RenderableType

from search.cli.console import heading, unbroken
from search.study_record import StudyRecord


def model_parts(record: StudyRecord) -> list[RenderableType]:
    """Return the model's URI and the lines that predict with it; nothing if none is registered."""
    if not record.model_uri:
        return []
    lines = (
        "import mlflow",
        f'mlflow.set_tracking_uri("{record.tracking_uri}")',
        f'mlflow.pyfunc.load_model("{record.model_uri}").predict(images)  # a NumPy array; one row for each image',
    )
    return [heading(f"Registered model {record.model_uri}"), *(unbroken(f"  {line}") for line in lines)]

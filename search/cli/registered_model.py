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
    what = _what(record)
    title = f"Registered model {record.model_uri}{what and f': {what}'}"
    return [heading(title), *(unbroken(f"  {line}") for line in lines)]


def _what(record: StudyRecord) -> str:
    """Return which refits it consists of; the test split shows several, and the model need not be the best of them."""
    finish, result = record.definition.finish, record.result
    if finish is None or result is None or not result.refit_keys:
        return ""
    n_members = result.n_model_members(finish)
    return f"the mean of {n_members} members" if n_members > 1 else result.refit_keys[0]

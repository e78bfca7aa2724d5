"""Runs of an MLflow experiment as trials of an earlier study; nothing is written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from search.credentials import require_credentials
from search.database_driver import has_table, require_driver
from search.errors import SearchError, StateError, StudyConflictError, StudyNotFoundError, did_you_mean
from search.past import PastTrial
from search.tracking.paging import all_pages
from search.tracking.quiet import prepare_environment, silenced_thread
from search.tracking.trial_rows import STAGE_TAG, metric_key
from search.trial import CONFIRM, REFIT
from search.uris import local_path, masked, masked_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_MOST_NAMES = 20


def past_runs(tracking_uri: str, experiment: str, *, monitor: str) -> list[PastTrial]:
    """Return the finished runs of an experiment that have the monitored metric, in no particular order.

    The reward of a run is its metric ``best_<monitor>``, which zeroin logs, else the last value of the metric itself.

    Args:
        tracking_uri: Of the store; a local file must exist.
        experiment: Its name.
        monitor: The monitored metric.

    Raises:
        StudyNotFoundError: If there is no such store, or no such experiment in it.
        StudyConflictError: If no finished run has the metric.
        StateError: If the store cannot be reached, or refuses.
    """
    require_driver(tracking_uri, what="the MLflow store")
    require_credentials(tracking_uri, what="the MLflow store", option="--tracking-uri")
    if not _may_exist(tracking_uri):
        raise StudyNotFoundError(f"there is no MLflow store {masked(tracking_uri)}.")
    prepare_environment()
    import mlflow

    try:
        with silenced_thread():
            runs = _runs(mlflow.MlflowClient(tracking_uri=tracking_uri), tracking_uri, experiment)
    except SearchError:
        raise
    except Exception as error:  # MLflow, database drivers, HTTP and the OS have no base class in common
        text = masked_text(str(error), tracking_uri).partition("\n")[0]
        raise StateError(
            f"the MLflow experiment {experiment!r} at {masked(tracking_uri)} cannot be read: {text}"
        ) from error
    trials = list(_trials(runs, monitor))
    if not trials:
        metrics = sorted({name for run in runs for name in run.data.metrics})
        raise StudyConflictError(
            f"the finished runs of experiment {experiment!r} must have the metric {monitor} or best_{monitor}, but "
            f"{'have ' + ', '.join(metrics[:_MOST_NAMES]) if metrics else 'there are none with any metric'}."
        )
    return trials


def _may_exist(tracking_uri: str) -> bool:
    """Whether MLflow would find a store, which it would make if there were none, or another program's file."""
    file = local_path(tracking_uri)
    if file is not None:
        return has_table(file, "experiments")
    directory = tracking_uri.removeprefix("file://")
    return not directory.startswith("/") or Path(directory).is_dir()


def _runs(client: MlflowClient, tracking_uri: str, name: str) -> list[Run]:
    found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        names = sorted(each.name for each in all_pages(client.search_experiments))
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        raise StudyNotFoundError(
            f"no experiment {name!r} in {masked(tracking_uri)}; it has {', '.join(names[:_MOST_NAMES]) or 'none'}"
            f"{more}.{did_you_mean(name, names)}"
        )
    runs = all_pages(client.search_runs, [found.experiment_id], filter_string="attributes.status = 'FINISHED'")
    return [run for run in runs if run.data.tags.get(STAGE_TAG) not in (CONFIRM, REFIT)]


def _trials(runs: list[Run], monitor: str) -> Iterator[PastTrial]:
    for run in runs:
        metrics = run.data.metrics
        value = metrics.get(metric_key(f"best_{monitor}"), metrics.get(metric_key(monitor), math.nan))
        if math.isfinite(value) and run.data.params:
            yield PastTrial(hyperparameters=run.data.params, reward=value, name=run.info.run_name or run.info.run_id)

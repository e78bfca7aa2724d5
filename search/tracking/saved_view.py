"""The view of a study's trials that MLflow's UI offers under ``Views``; pure functions.

Left alone, the UI takes every experiment for one about language models, shows no hyperparameter and no metric in the
table of runs, and charts whatever was logged first. A saved view names the columns, the order and the charts.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from lightning_modules.callbacks.metric_names import gap_name, train_eval_name
from search.reward import measured_name
from search.search_space import Dimension
from search.study_definition import Direction, StudyDefinition
from search.tracking.trial_rows import (
    DIAGNOSIS_TAG,
    FEASIBLE_TAG,
    PARETO_TAG,
    STAGE_TAG,
    STATE_TAG,
    TRIAL_TAG,
    log_scale_name,
    metric_key,
)

VIEW_ID = "zeroin-trials"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_ID}"
KIND_TAG = "mlflow.experimentKind"
MACHINE_LEARNING = {"workflowType": "machine_learning"}
"""Query of an address that switches the UI to model training; it begins with language models otherwise."""

_NAME = "Trials"
_MAX_TAG_CHARACTERS = 5000  # the oldest servers that we talk to take no more
_SPACE, _CURVES, _CONDITIONAL = "zeroin-space", "zeroin-curves", "zeroin-conditional"
_PIXELS_PER_CHARACTER = 7
_PADDING_PIXELS = 32
_MIN_COLUMN_PIXELS = 96
_SENTENCE_PIXELS = 640


def experiment_tags(definition: StudyDefinition, *, time_ms: int) -> dict[str, str]:
    """Return the tags of a study's experiment: its kind, and the view of its trials.

    The view is written as the UI itself writes one when its user chooses ``Save as new view``; a version that has no
    such views ignores it.

    Source: https://mlflow.org/releases/3.15.0/#3-shareable-table-views

    Args:
        definition: The study.
        time_ms: When the view came to be, Unix time in milliseconds.
    """
    tags = {KIND_TAG: "custom_model_development"}
    dimensions = tuple(definition.space)
    while dimensions:  # a view of the first of very many hyperparameters is better than none
        envelope = {"name": _NAME, "createdAt": time_ms, "updatedAt": time_ms}
        text = _compact({**envelope, "state": _deflated(_compact(_view(definition, dimensions)))})
        if len(text) <= _MAX_TAG_CHARACTERS:
            return {**tags, VIEW_TAG: text}
        dimensions = dimensions[: len(dimensions) * 3 // 4]
    return tags


def runs_path(experiment_id: str, *, has_view: bool, as_charts: bool) -> str:
    """Return the page of an experiment's runs, below the server's address.

    Args:
        experiment_id: MLflow's id.
        has_view: Whether the experiment has our view: asked for one that it lacks, the UI shows an error.
        as_charts: Charts instead of the table.
    """
    view = {"viewStateShareKey": VIEW_ID} if has_view else {}
    mode = {"compareRunsMode": "CHART"} if as_charts else {}
    return f"/#/experiments/{experiment_id}/runs?{urlencode({**MACHINE_LEARNING, **view, **mode})}"


def run_path(experiment_id: str, run_id: str) -> str:
    """Return the page of one run, below the server's address."""
    return f"/#/experiments/{experiment_id}/runs/{run_id}?{urlencode(MACHINE_LEARNING)}"


def _view(definition: StudyDefinition, dimensions: tuple[Dimension, ...]) -> dict[str, Any]:
    """Return the state of the page of runs, by the names that the UI gives its parts."""
    monitor = definition.objective.monitor
    best = f"best_{monitor}"
    summary = [best, f"{gap_name(monitor)}_at_best", "best_epoch"]
    if definition.objective.gap_weight != 0.0:  # else it is the best value itself
        summary.append("reward")
    summary += [name for name in map(measured_name, definition.objective.measured_metrics) if name not in summary]
    marks = [FEASIBLE_TAG] if definition.objective.constraints else []
    marks += [PARETO_TAG] if definition.objective.further else []
    columns = [f"tags.`{name}`" for name in (STAGE_TAG, STATE_TAG, *marks)]
    columns += [f"metrics.`{metric_key(name)}`" for name in summary]
    columns += [f"params.`{dimension.name}`" for dimension in dimensions]
    diagnosis = f"tags.`{DIAGNOSIS_TAG}`"
    columns.append(diagnosis)
    return {
        "searchFilter": f"tags.`{TRIAL_TAG}` LIKE 'trial-%'",
        "orderByKey": "metrics.`reward`",
        "orderByAsc": definition.objective.direction is Direction.MINIMIZE,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {**{column: _column_pixels(column) for column in columns}, diagnosis: _SENTENCE_PIXELS},
        "runsHiddenMode": "SHOW_ALL",
        **_charts(dimensions, monitor=monitor, best=metric_key(best)),
        "hideEmptyCharts": True,
    }


def _charts(dimensions: tuple[Dimension, ...], *, monitor: str, best: str) -> dict[str, Any]:
    """Return the charts and their sections.

    Parallel coordinates leave out runs that lack one of the axes, so the conditional hyperparameters come in a second
    chart, of the trials in which all of them are active.
    """
    always = tuple(dimension for dimension in dimensions if not dimension.conditions)
    curves = (monitor, train_eval_name(monitor), gap_name(monitor), "learning_rate")
    charts = [_parallel(always, _SPACE, best), *(_curve(metric_key(name)) for name in curves)]
    sections = [
        _section(_SPACE, "Search space", columns=1, cardHeight=420),
        _section(_CURVES, "Curves", columns=2, cardHeight=360),
    ]
    conditional = [dimension.name for dimension in dimensions if dimension.conditions]
    if conditional:
        charts.append(_parallel(dimensions, _CONDITIONAL, best))
        name = f"Search space of the trials that have {', '.join(conditional)}"
        sections.append(_section(_CONDITIONAL, name, columns=1, cardHeight=420))
    return {"compareRunCharts": charts, "compareRunSections": sections, "isAccordionReordered": True}


def _column_pixels(column: str) -> int:
    name = column.partition("`")[2].rstrip("`")
    return max(_MIN_COLUMN_PIXELS, _PIXELS_PER_CHARACTER * len(name) + _PADDING_PIXELS)


def _parallel(dimensions: tuple[Dimension, ...], section: str, best: str) -> dict[str, Any]:
    """Return parallel coordinates; the UI colours lines by the last metric."""
    log_names = {dimension.name: log_scale_name(dimension) for dimension in dimensions}
    return _chart(
        f"{section}-parallel",
        "PARALLEL",
        section,
        selectedParams=[name for name, log_name in log_names.items() if log_name is None],
        selectedMetrics=[*(name for name in log_names.values() if name is not None), best],
        showAllRuns=False,
    )


def _curve(metric: str) -> dict[str, Any]:
    return _chart(
        f"zeroin-{metric}",
        "LINE",
        _CURVES,
        displayName=metric,
        metricKey=metric,
        selectedMetricKeys=[metric],
        lineSmoothness=0,
        scaleType="linear",
        xAxisKey="step",
        xAxisScaleType="linear",
        yAxisKey="metric",
        yAxisExpressions=[],
        range={},
    )


def _chart(chart_id: str, kind: str, section: str, **settings: Any) -> dict[str, Any]:
    common = {"uuid": chart_id, "type": kind, "metricSectionId": section, "deleted": False, "isGenerated": False}
    return {**common, **settings}


def _section(section_id: str, name: str, **settings: Any) -> dict[str, Any]:
    flags = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": section_id, "name": name, **flags, **settings}


def _deflated(text: str) -> str:
    """Return the text in the UI's own compressed form."""
    return f"deflate;{base64.b64encode(zlib.compress(text.encode())).decode()}"


def _compact(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False)

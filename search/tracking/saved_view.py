"""The view of a study's trials that MLflow's UI offers under ``Views``; pure functions.

Left alone, the UI takes every experiment for one about language models, shows no hyperparameter and no metric in the
table of runs, and charts whatever was logged first. A saved view names the columns, the order and the charts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from lightning_modules.callbacks.metric_names import gap_name, train_eval_name
from search.search_space import Dimension
from search.study_definition import Direction, StudyDefinition
from search.tracking.trial_rows import STAGE_TAG, STATE_TAG, TRIAL_TAG, log_scale_name, metric_key

VIEW_ID = "zeroin-trials"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_ID}"
KIND_TAG = "mlflow.experimentKind"

_NAME = "Trials"
_MAX_TAG_CHARACTERS = 5000  # the oldest servers that we talk to take no more
_SPACE, _CURVES = "zeroin-space", "zeroin-curves"


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
    while dimensions:  # a view of the first few hundred hyperparameters is better than none
        envelope = {"name": _NAME, "createdAt": time_ms, "updatedAt": time_ms}
        text = _compact({**envelope, "state": _compact(_view(definition, dimensions))})
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
    return f"/#/experiments/{experiment_id}/runs?{urlencode({'workflowType': 'machine_learning', **view, **mode})}"


def _view(definition: StudyDefinition, dimensions: tuple[Dimension, ...]) -> dict[str, Any]:
    """Return the state of the page of runs, by the names that the UI gives its parts."""
    monitor = definition.objective.monitor
    best = f"best_{monitor}"
    summary = [best, f"{gap_name(monitor)}_at_best", "best_epoch"]
    if definition.objective.gap_weight != 0.0:  # else it is the best value itself
        summary.append("reward")
    columns = [f"tags.`{name}`" for name in (STAGE_TAG, STATE_TAG)]
    columns += [f"metrics.`{metric_key(name)}`" for name in summary]
    columns += [f"params.`{dimension.name}`" for dimension in dimensions]
    always = tuple(dimension for dimension in dimensions if not dimension.conditions)
    spaces = [always] if len(always) == len(dimensions) else [always, dimensions]
    charts = [_parallel(f"zeroin-parallel-{n}", part, metric_key(best)) for n, part in enumerate(spaces) if part]
    curves = (monitor, train_eval_name(monitor), gap_name(monitor), "learning_rate")
    charts += [_curve(metric_key(name)) for name in curves]
    return {
        "searchFilter": f"tags.`{TRIAL_TAG}` LIKE 'trial-%'",
        "orderByKey": "metrics.`reward`",
        "orderByAsc": definition.objective.direction is Direction.MINIMIZE,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": [
            _section(_SPACE, "Search space", columns=1, cardHeight=420),
            _section(_CURVES, "Curves", columns=2, cardHeight=360),
        ],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
    }


def _parallel(chart_id: str, dimensions: tuple[Dimension, ...], best: str) -> dict[str, Any]:
    """Return parallel coordinates, coloured by the last metric; the UI leaves out runs that lack one of the axes."""
    log_names = {dimension.name: log_scale_name(dimension) for dimension in dimensions}
    return _chart(
        chart_id,
        "PARALLEL",
        _SPACE,
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


def _compact(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False)

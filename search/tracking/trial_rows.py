"""A trial's record as MLflow shows it: metric rows, parameters, tags and a status; pure functions.

Equal records give equal rows, times included, so that delivering one twice leaves a store as it was.
"""

from __future__ import annotations

import math
import posixpath
import re
from dataclasses import dataclass

from lightning_modules.callbacks.metric_names import N_PARAMETERS, gap_name
from search.diagnosis import diagnose
from search.reward import measured_name
from search.search_space import Dimension, IntLogRange, LogRange, OneMinusLogRange, SearchSpace
from search.study_definition import Objective
from search.trial import Score, TrialRecord, TrialState

TRIAL_TAG = "zeroin.trial"
STAGE_TAG = "zeroin.stage"
SEED_TAG = "zeroin.seed"
OUTSIDE_TAG = "zeroin.outside"
CONTINUES_TAG = "zeroin.continues"
ORIGIN_TAG = "zeroin.origin"
ACTION_TAG = "zeroin.action"
STATE_TAG = "zeroin.state"
REASON_TAG = "zeroin.reason"
DIAGNOSIS_TAG = "zeroin.diagnosis"
FEASIBLE_TAG = "zeroin.feasible"
PARETO_TAG = "zeroin.pareto"

RUNNING = "RUNNING"
"""MLflow's status of a run that is not over."""

_STATUSES = {
    TrialState.RUNNING: RUNNING,
    TrialState.INTERRUPTED: "KILLED",
    TrialState.COMPLETE: "FINISHED",
    TrialState.STOPPED_EARLY: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.DIVERGED: "KILLED",
    TrialState.FAILED: "FAILED",
    TrialState.STOPPED: "KILLED",
}
_MAX_KEY_CHARACTERS = 250
MAX_TAG_CHARACTERS = 4000  # the oldest servers that we talk to take 5000
_ILLEGAL = re.compile(r"[^/\w.\- :]")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """One point of a metric's history.

    Attributes:
        key: Name that MLflow accepts.
        value: Finite or NaN.
        step: Epoch for a trial; for a study the stage counted from 1, or the number of the trial that it is about.
        time_ms: Unix time in milliseconds.
    """

    key: str
    value: float
    step: int
    time_ms: int


def metric_key(name: str) -> str:
    """Return `name` with what MLflow refuses in a metric's name replaced: ``acc@5`` gives ``acc_5``."""
    key = posixpath.normpath(_ILLEGAL.sub("_", name)).lstrip("/")
    return re.sub(r"^\.+", "_", key)[:_MAX_KEY_CHARACTERS].rstrip("/") or "_"


def finite_or_nan(rows: list[MetricRow]) -> list[MetricRow]:
    """Leave out infinities: MLflow stores them as the largest double, which ruins every chart's axis."""
    return [row for row in rows if not math.isinf(row.value)]


def epoch_rows(record: TrialRecord, *, after_epoch: int) -> list[MetricRow]:
    """Return the metrics of the epochs later than `after_epoch` (0 for all)."""
    return finite_or_nan(
        [
            MetricRow(key=metric_key(name), value=float(value), step=epoch.epoch, time_ms=epoch.time_ms)
            for epoch in record.epochs
            if epoch.epoch > after_epoch
            for name, value in epoch.metrics.items()
        ]
    )


def summary_rows(record: TrialRecord, score: Score | None, *, monitor: str) -> list[MetricRow]:
    """Return what a finished trial is compared by; empty while it is not finished or has no score.

    They are sent once, at the end: a value at every epoch would depend on when it happened to be delivered.
    """
    if score is None or not record.state.is_finished:
        return []
    values = {
        f"best_{monitor}": score.best_value,
        "best_epoch": float(score.best_epoch) if score.best_epoch > 0 else math.nan,
        f"{gap_name(monitor)}_at_best": score.gap_at_best,
        "reward": score.reward,
        **{measured_name(name): value for name, value in score.measured.items() if name != N_PARAMETERS},
        **({"violation": score.violation} if score.excesses else {}),
    }
    return [
        MetricRow(key=metric_key(name), value=value, step=len(record.epochs), time_ms=record.latest_ms)
        for name, value in values.items()
        if math.isfinite(value)
    ]


def log_scale_name(dimension: Dimension) -> str | None:
    """Return the metric that holds the dimension's value on its log scale, or None if it has no such metric.

    It is ``log10 <name>``, or ``log10 1 - <name>`` where 1 - value is what is searched on a log scale. A dimension that
    may be exactly 0 has none: the UI would leave the zeros out of a chart. A slash instead of the space would make
    them a section of their own, ahead of the curves.
    """
    if dimension.zero_share > 0.0:
        return None
    match dimension.range:
        case LogRange() | IntLogRange():
            return metric_key(f"log10 {dimension.name}")
        case OneMinusLogRange():
            return metric_key(f"log10 1 - {dimension.name}")
        case _:
            return None


def log_scale_rows(record: TrialRecord, space: SearchSpace) -> list[MetricRow]:
    """Return a finished trial's log-scaled hyperparameters as metrics.

    The UI's parallel coordinates have linear axes only, on which all but the largest decade is one point.
    """
    rows: list[MetricRow] = []
    for dimension in space if record.state.is_finished else ():
        name, value = log_scale_name(dimension), record.hyperparameters.get(dimension.name)
        if name is None or value is None:
            continue
        argument = 1.0 - float(value) if isinstance(dimension.range, OneMinusLogRange) else float(value)
        if argument > 0.0:
            rows.append(
                MetricRow(key=name, value=math.log10(argument), step=len(record.epochs), time_ms=record.latest_ms)
            )
    return rows


def parameters(record: TrialRecord) -> dict[str, str]:
    """Return the searched hyperparameters as text, numbers with every digit that they have."""
    return {
        name: value if isinstance(value, str) else repr(value) for name, value in sorted(record.hyperparameters.items())
    }


def status(state: TrialState) -> str:
    """Return MLflow's status for a trial's state."""
    return _STATUSES[state]


def state_tags(state: str, reason: str) -> dict[str, str]:
    """Return the tags that say how a run stands and why."""
    return {STATE_TAG: state, REASON_TAG: reason[:MAX_TAG_CHARACTERS]}


def feasibility_tags(record: TrialRecord, score: Score | None) -> dict[str, str]:
    """Return the tag that says whether a finished trial keeps the constraints; none if there are no constraints."""
    if score is None or not score.excesses or not record.state.is_finished:
        return {}
    return {FEASIBLE_TAG: str(not score.violation > 0.0).lower()}


def diagnosis_tags(record: TrialRecord, objective: Objective) -> dict[str, str]:
    """Return the tag that says how a finished trial trained; none where its curves cannot tell."""
    found = diagnose(record, objective)
    return {} if found is None else {DIAGNOSIS_TAG: str(found)[:MAX_TAG_CHARACTERS]}


def identity_tags(record: TrialRecord) -> dict[str, str]:
    """Return the tags that never change in a trial's life; those of some kinds of trials only where they apply."""
    tags = {TRIAL_TAG: record.key, STAGE_TAG: record.stage, SEED_TAG: str(record.seed)}
    if record.is_outside:
        tags[OUTSIDE_TAG] = "true"
    if record.continues:
        tags[CONTINUES_TAG] = record.continues
    if record.origin:
        tags[ORIGIN_TAG] = record.origin[:MAX_TAG_CHARACTERS]
    if record.action:
        tags[ACTION_TAG] = record.action
    return tags

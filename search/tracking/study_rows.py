"""A study as its parent run shows it: ranges, the best of each stage, the result; pure functions."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from search.confidence import seed_deviation
from search.device_use import lost_share
from search.portfolio import accounts
from search.record_codec import opening_to_plain, result_to_plain
from search.recorded_best import best_of, front_to_plain, pareto_trials
from search.samplers.appraisal import belief_figures
from search.search_space import Choices
from search.study_definition import Objective, StudyDefinition
from search.study_file import definition_to_yaml
from search.study_record import ScoredTrial, StageOpening, StudyRecord, StudyResult
from search.tracking.trial_rows import MetricRow, finite_or_nan, metric_key, summary_rows
from search.trial import FinishedTrial, TrialRecord
from search.uris import masked

_ENDED_EARLY = "ended_early/"


def range_rows(opening: StageOpening) -> list[MetricRow]:
    """Return the stage's ranges as metrics, so that the UI draws them closing in: bounds, or the number of choices."""
    values: dict[str, float] = {}
    for dimension in opening.narrowed.space:
        if isinstance(dimension.range, Choices):
            values[f"{dimension.name}.n_choices"] = float(len(dimension.range.values))
        else:
            values[f"{dimension.name}.low"] = float(dimension.range.low)
            values[f"{dimension.name}.high"] = float(dimension.range.high)
    return _rows({f"ranges/{name}": value for name, value in values.items()}, opening.index + 1, opening.time_ms)


def stage_best_rows(number: int, finished: Iterable[ScoredTrial], *, objective: Objective) -> list[MetricRow]:
    """Return the best of a stage's trials as metrics.

    Args:
        number: The stage's position, counted from 1.
        finished: Its finished trials so far.
        objective: What is optimized.

    Returns:
        Nothing if no trial has a finite reward. Not to be asked before the stage is over: the best so far would depend
        on when it was asked.
    """
    trials = list(finished)
    best = best_of(trials, objective=objective)
    if best is None or best.score is None:
        return []
    time_ms = max(trial.record.latest_ms for trial in trials)
    values = {f"stages/best_{objective.monitor}": best.score.best_value, "stages/best_reward": best.score.reward}
    return _rows(values, number, time_ms)


def portfolio_rows(number: int, trials: Iterable[ScoredTrial], *, objective: Objective) -> list[MetricRow]:
    """Return what the study's trials were spent on, and what is believed of each action, as metrics.

    Args:
        number: The stage's position that has ended, counted from 1.
        trials: Finished trials of that stage and those before it.
        objective: What is optimized.

    Returns:
        Nothing if there was no choice.
    """
    told = list(trials)
    if not any(each.record.action for each in told):
        return []
    finished = [FinishedTrial(record=each.record, score=each.score) for each in told]
    finished.sort(key=lambda each: each.record.number or 0)
    values: dict[str, float] = {}
    for each in accounts(finished, objective):
        values[f"portfolio/n_trials.{each.action}"] = float(each.n_trials)
        values[f"portfolio/n_epochs.{each.action}"] = float(each.n_epochs)
        values[f"portfolio/improvement.{each.action}"] = each.improvement
        values[f"portfolio/expected_in_100_epochs.{each.action}"] = each.belief
    return _rows(values, number, max((each.record.latest_ms for each in finished), default=0))


def belief_rows(record: TrialRecord) -> list[MetricRow]:
    """Return what was believed of each action when a search trial was chosen, by the trial's number.

    Nothing if the sampler `portfolio` chose nothing for it.
    """
    if record.number is None:
        return []
    return _rows(belief_figures(record.beliefs), record.number, record.started_ms)


def result_rows(record: StudyRecord, result: StudyResult) -> list[MetricRow]:
    """Return the winner's summary under the names that its own run has, and the readings of the test split.

    Of the members' metrics the mean is ``test_acc``, say, and ``test_acc_members`` has them all, a step each.
    """
    monitor = record.definition.objective.monitor
    step = len(record.definition.stages)
    rows = [
        MetricRow(key=row.key, value=row.value, step=step, time_ms=result.time_ms)
        for trial in record.trials
        if trial.record.number == result.best_trial_number
        for row in summary_rows(trial.record, trial.score, monitor=monitor)
    ]
    totals = {"n_epochs": float(sum(result.n_epochs.values())), "seconds": result.seconds}
    totals |= {"spent/hours": result.seconds / 3600.0, "spent/device_hours": result.device_seconds / 3600.0}
    devices = {f"devices/seconds_{use}": seconds for use, seconds in result.device_use.items()}
    if devices:
        devices["devices/lost_share"] = lost_share(result.device_use)
    tested = {test_name(name): value for name, value in result.test_mean.items()}
    tested |= {f"{test_name(name)}_ensemble": value for name, value in result.test_ensemble.items()}
    certainty = {**_confirmed(result), **_early_end(record)}
    rows += _rows({**totals, **devices, **certainty, **tested, **_ensemble_gain(result)}, step, result.time_ms)
    # The UI's table shows a metric's last value, which would be one member's.
    for member, metrics in enumerate(result.test_members, start=1):
        rows += _rows({f"{test_name(name)}_members": each for name, each in metrics.items()}, member, result.time_ms)
    return rows


def _confirmed(result: StudyResult) -> dict[str, float]:
    """Return the winner's mean reward over seeds, between which bounds it is, and how much seeds differ."""
    if not result.confirmations:
        return {}
    winner = result.confirmations[0]
    values = {"confirmed_mean": winner.mean, "confirmed_seeds": float(len(winner.rewards))}
    if winner.interval is not None:
        values |= {"confirmed_low": winner.interval[0], "confirmed_high": winner.interval[1]}
    noise = seed_deviation(each.rewards for each in result.confirmations)
    return values if noise is None else {**values, "seed_deviation": noise}


def _ensemble_gain(result: StudyResult) -> dict[str, float]:
    """Return what averaging gained, between which bounds that is, and how much members differ, as far as known."""
    values: dict[str, float] = {}
    for metric, gain in result.ensemble_gain.items():
        short = metric.removeprefix("test_")
        name = f"ensemble_gain_{short}"
        values |= {name: gain.mean, f"{name}_low": gain.low, f"{name}_high": gain.high}
        values[f"ensemble_member_deviation_{short}"] = gain.member_deviation
        if gain.by_left_out:
            values |= {f"{name}_left_out_min": min(gain.by_left_out), f"{name}_left_out_max": max(gain.by_left_out)}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _early_end(record: StudyRecord) -> dict[str, float]:
    """Return by which figures the search ended early; nothing if it did not."""
    end = record.early_end
    if end is None:
        return {}
    outlook = {} if end.outlook is None else dataclasses.asdict(end.outlook)
    values = {**outlook, **({} if end.n_left is None else {"n_left": float(end.n_left)})}
    return {f"{_ENDED_EARLY}{name}": value for name, value in values.items()}


def undone_early_end_rows(logged: Mapping[str, float], *, step: int, time_ms: int) -> list[MetricRow]:
    """Return what takes back an early end that is not the study's any more: nothing left out, the others NaN.

    Args:
        logged: The latest metrics of the study's run.
        step: The number of its stages.
        time_ms: Unix time in milliseconds, later than the early end.

    Returns:
        Nothing if no early end was logged, or it has been taken back.
    """
    told = {name: value for name, value in logged.items() if name.startswith(_ENDED_EARLY)}
    if all(math.isnan(value) or value == 0.0 for value in told.values()):
        return []
    return _rows({name: 0.0 if name.endswith("/n_left") else math.nan for name in told}, step, time_ms)


def ranges_json(openings: Mapping[int, StageOpening]) -> str:
    """Return the stages opened so far, each with its ranges and their reasons."""
    return _json([opening_to_plain(openings[index]) for index in sorted(openings)])


def pareto_json(record: StudyRecord) -> str:
    """Return the Pareto front, best reward first."""
    objective = record.definition.objective
    return _json(front_to_plain(pareto_trials(record.trials, objective=objective), objective=objective))


def result_json(result: StudyResult) -> str:
    """Return how the study ended."""
    return _json(result_to_plain(result))


def study_yaml(definition: StudyDefinition) -> str:
    """Return the definition as a study file, the stores' passwords masked."""
    given = (definition.storage, definition.tracking_uri, definition.checkpoints)
    storage, tracking_uri, checkpoints = (uri and masked(uri) for uri in given)
    return definition_to_yaml(replace(definition, storage=storage, tracking_uri=tracking_uri, checkpoints=checkpoints))


def test_name(name: str) -> str:
    """Return the name of a reading of the test split as a metric."""
    return name if name.startswith("test") else f"test_{name}"


def _rows(values: Mapping[str, float], step: int, time_ms: int) -> list[MetricRow]:
    rows = [
        MetricRow(key=metric_key(name), value=float(value), step=step, time_ms=time_ms)
        for name, value in values.items()
    ]
    return finite_or_nan(rows)


def _json(plain: object) -> str:
    """Encode as strict JSON, where NaN and infinities have no spelling and become null."""
    return json.dumps(_without_non_finite(plain), indent=2, allow_nan=False) + "\n"


def _without_non_finite(plain: Any) -> Any:
    if isinstance(plain, float):
        return plain if math.isfinite(plain) else None
    if isinstance(plain, Mapping):
        return {key: _without_non_finite(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_without_non_finite(value) for value in plain]
    return plain

"""A study's story in Markdown, as the description of its run; pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from search.range_text import number_text
from search.recorded_best import infeasible_words, pareto_trials
from search.search_space import Choices, Dimension, Value
from search.study_definition import StudyDefinition
from search.study_record import (
    CrowdedEdge,
    RangeChange,
    RangeDecision,
    ScoredTrial,
    StageOpening,
    StudyRecord,
    StudyResult,
)
from search.tracking.study_rows import test_name

NOTE_TAG = "mlflow.note.content"
"""MLflow's own name of a run's description."""

_OPENING = "**Study "
_MAX_FRONT = 20
_MAX_EDGES = 5
_MAX_CHARACTERS = 5000  # the oldest servers that we talk to take no more


def is_ours(note: str) -> bool:
    """Whether the description is one of ours or empty, not one that a user wrote instead."""
    return not note or note.startswith(_OPENING)


def ranges_note(definition: StudyDefinition, openings: Mapping[int, StageOpening]) -> str:
    """Return the story so far: the ranges of the stages opened."""
    return _note(definition, [], [openings[index] for index in sorted(openings)], winner=None)


def result_note(record: StudyRecord, result: StudyResult) -> str:
    """Return the whole story: the winner, what the test split says, the ranges."""
    winner = next((each for each in record.trials if each.record.number == result.best_trial_number), None)
    facts = [] if winner is None else [_winner_line(winner, monitor=record.definition.objective.monitor)]
    none_keeps_all, _, best_does = infeasible_words(replace(record, result=result)).partition(";")
    if none_keeps_all:
        facts.append(f"**{none_keeps_all}**;{best_does}")
    front = pareto_trials(record.trials, objective=record.definition.objective)
    if front:
        numbers = ", ".join(f"`{each.record.key}`" for each in front[:_MAX_FRONT])
        more = f" and {len(front) - _MAX_FRONT} more" if len(front) > _MAX_FRONT else ""
        facts.append(f"Pareto front: {numbers}{more}; all of it stands in the artifact `pareto.json`.")
    if result.test_members:
        n_members = len(result.test_members)
        metrics, of = (result.test_ensemble, "ensemble") if result.test_ensemble else (result.test_mean, "mean")
        readings = ", ".join(f"{test_name(name)} {value:.4g}" for name, value in metrics.items())
        facts.append(f"Test split ({result.n_test_samples} samples), {of} of {n_members}: {readings}.")
    facts += [gain.in_words(f"`{name}`") for name, gain in result.ensemble_gain.items()]
    facts += _edges(result.crowded_edges)
    facts.append(f"{sum(result.n_epochs.values())} epochs trained in {result.seconds:.0f} s.")
    return _note(record.definition, facts, record.openings, winner=winner)


def _note(
    definition: StudyDefinition, facts: Sequence[str], openings: Sequence[StageOpening], *, winner: ScoredTrial | None
) -> str:
    objective = definition.objective
    aims = [f"{objective.direction.value} `{objective.monitor}`"]
    aims += [f"{each.direction.value} `{each.monitor}`" for each in objective.further]
    bounds = ", ".join(f"`{each.text}`" for each in objective.constraints)
    lines = [f"{_OPENING}{definition.study}**: {', '.join(aims)}{' with ' if bounds else ''}{bounds}.", ""]
    lines += [line for fact in facts for line in (fact, "")]
    closing = ["", "Why each range moved stands in the artifact `ranges.json`, the whole definition in `study.yaml`."]
    room = _MAX_CHARACTERS - len("\n".join([*lines, *closing]))
    for row in _table(definition, openings, winner=winner):
        room -= len(row) + 1
        if room < 0:
            break
        lines.append(row)
    return "\n".join([*lines, *closing])


def _edges(edges: Sequence[CrowdedEdge]) -> list[str]:
    """Return where the optimum may lie beyond the ranges, a paragraph each; what there is no room for is counted."""
    told = [f"{each.reason[0].upper()}{each.reason[1:]}." for each in edges[:_MAX_EDGES]]
    n_more = len(edges) - len(told)
    return [*told, f"They do so at {n_more} more edges; see the artifact `result.json`."] if n_more else told


def _winner_line(winner: ScoredTrial, *, monitor: str) -> str:
    if winner.score is None:
        return f"Best trial: `{winner.record.key}`."
    score = winner.score
    return (
        f"Best trial: `{winner.record.key}`, {monitor} {score.best_value:.4g} at epoch {score.best_epoch}, "
        f"generalization gap {score.gap_at_best:+.4f}."
    )


def _table(definition: StudyDefinition, openings: Sequence[StageOpening], *, winner: ScoredTrial | None) -> list[str]:
    """Return the ranges by stage, one row for each hyperparameter, and the winner's values."""
    heads = ["hyperparameter", *(opening.name for opening in openings), *(["winner"] if winner is not None else [])]
    rows = [heads, ["---"] * len(heads)]
    decisions = [{each.name: each for each in opening.narrowed.decisions} for opening in openings]
    for dimension in definition.space:
        cells = [f"`{dimension.name}`", *(_range_cell(found.get(dimension.name)) for found in decisions)]
        if winner is not None:
            cells.append(_value_cell(winner.record.hyperparameters.get(dimension.name), dimension))
        rows.append(cells)
    return [f"| {' | '.join(cells)} |" for cells in rows]


def _range_cell(decision: RangeDecision | None) -> str:
    if decision is None:
        return ""
    # A bar would end the cell.
    return "kept" if decision.change is RangeChange.KEPT else decision.after.replace(" | ", ", ").replace("|", "\\|")


def _value_cell(value: Value | None, dimension: Dimension) -> str:
    if value is None:  # not active in this trial
        return ""
    if isinstance(dimension.limits, Choices) or isinstance(value, str):
        return f"`{value}`"
    return number_text(value, dimension.limits)

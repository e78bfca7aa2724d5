"""Where a study's weights are, and whether they are those of the score shown: for people, and as plain data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from search.cli import figures
from search.cli.console import heading, indented, unbroken
from search.study_record import ScoredTrial, StudyRecord


def weights_parts(record: StudyRecord, trial: ScoredTrial) -> list[RenderableType]:
    """Return the directories, and the word that the weights are of another epoch than the score, if so."""
    parts: list[RenderableType] = [heading("Weights")]
    parts.extend(unbroken(f"  {directory}") for directory in _directories(record, trial))
    if _is_of_another_epoch(record, trial):
        monitor, last = record.definition.objective.monitor, trial.record.epochs[-1]
        value = figures.metric(last.metrics.get(monitor, math.nan))
        parts.append(indented(Text(f"(after epoch {last.epoch}: {monitor} {value}; earlier ones are not kept)")))
    return parts


def weights_plain(record: StudyRecord, trial: ScoredTrial) -> dict[str, Any]:
    """Return the directories as JSON-able data, with the epoch of the weights if it is another than the score's."""
    after = None
    if _is_of_another_epoch(record, trial):
        monitor, last = record.definition.objective.monitor, trial.record.epochs[-1]
        after = {"epoch": last.epoch, monitor: last.metrics.get(monitor)}
    return {"weights": _directories(record, trial), "weights_after": after}


def _directories(record: StudyRecord, trial: ScoredTrial) -> list[str]:
    """Return where weights are: the refitted members' directories, else the search trial's own."""
    return [str(Path(record.directory) / key) for key in _refit_keys(record) or (trial.record.key,)]


def _is_of_another_epoch(record: StudyRecord, trial: ScoredTrial) -> bool:
    """Whether the weights are the trial's own, which are those of its last epoch, and its best epoch is another."""
    if _refit_keys(record) or trial.score is None or not trial.record.epochs:
        return False
    return trial.record.epochs[-1].epoch != trial.score.best_epoch


def _refit_keys(record: StudyRecord) -> tuple[str, ...]:
    return record.result.refit_keys if record.result is not None else ()

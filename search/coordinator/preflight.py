"""Before a study is created: can its model and data be built, and is the monitored metric logged."""

from __future__ import annotations

from collections.abc import Callable

from lightning_modules.callbacks.metric_names import N_PARAMETERS
from search.coordinator.assembly import assemble
from search.coordinator.request import Request
from search.coordinator.workforce import Workforce
from search.errors import StudyDefinitionError, StudyInterruptedError, did_you_mean
from search.messages import Inspect, InspectionResult
from search.search_space import Hyperparameters
from search.study_definition import Objective, StudyDefinition


def try_out(
    definition: StudyDefinition,
    hyperparameters: Hyperparameters,
    workforce: Workforce,
    *,
    doing: str,
    notify: Callable[[str], None],
) -> InspectionResult:
    """Have a worker build everything at one point of the search space and run one batch.

    Args:
        definition: The study.
        hyperparameters: The point.
        workforce: Of which one is asked, and others if it is lost.
        doing: What that is, for messages (``the model was tried out``).
        notify: Told of workers that were lost over it.

    Raises:
        StudyFailedError: If workers die over it again and again.
        StudyInterruptedError: If the user stops the study meanwhile.
    """
    order = Inspect(
        assembly=assemble(definition, hyperparameters),
        searched=definition.space.names,
        hang_timeout_seconds=definition.resources.hang_timeout_seconds,
    )
    result = workforce.ask(
        Request(
            message=order,
            reply=InspectionResult,
            doing=doing,
            remedy="Nothing has been changed; once that is mended, start the study again.",
            notify=notify,
            interruptible=True,
        )
    )
    if result is None:
        raise StudyInterruptedError("stopped before any training; nothing has been changed.")
    return result


def inspect_study(
    definition: StudyDefinition, workforce: Workforce, *, notify: Callable[[str], None]
) -> InspectionResult:
    """Have a worker build everything in the middle of the search space and run one batch.

    Raises:
        StudyDefinitionError: If something of the study does not fit; `key` says what.
        StudyFailedError: If workers die over it again and again.
        StudyInterruptedError: If the user stops the study meanwhile.
    """
    middle = definition.space.from_units(dict.fromkeys(definition.space.names, 0.5))
    result = try_out(definition, middle, workforce, doing="the model was tried out", notify=notify)
    if result.error:
        details = f"\n{result.traceback.rstrip()}" if result.traceback else ""
        raise StudyDefinitionError(f"{result.error}{details}", key=_in_file(result.error_key, definition))
    if definition.objective.gap_weight > 0.0 and not result.measures_gap:
        raise StudyDefinitionError(
            f"must be 0 where the generalization gap of {definition.objective.monitor!r} cannot be measured, but is "
            f"{definition.objective.gap_weight:g}: {' '.join(result.notices)}",
            key=_in_file("objective.gap_weight", definition),
        )
    _require_measured(definition.objective, result.measured)
    return result


def _in_file(key: str, definition: StudyDefinition) -> str:
    """Return where the study file has a key of the objective; of several, that is the first of the list."""
    prefix = "objective."
    is_in_list = key.startswith(prefix) and bool(definition.objective.further)
    return f"objectives.0.{key.removeprefix(prefix)}" if is_in_list else key


def _require_measured(objective: Objective, measured: tuple[str, ...]) -> None:
    """Check that all that constraints and further objectives are about is reported with every epoch.

    Raises:
        StudyDefinitionError: If one is not; `key` says which.
    """
    keys = {f"objectives.{index}.monitor": each.monitor for index, each in enumerate(objective.further, start=1)}
    keys |= {f"constraints.{each.metric}": each.metric for each in objective.constraints}
    for key, metric in keys.items():
        if metric not in measured:
            known = sorted({*measured, N_PARAMETERS})
            raise StudyDefinitionError(
                f"must be something that is measured, but got {metric!r}; an epoch of this model reports "
                f"{', '.join(known)}.{did_you_mean(metric, known)}",
                key=key,
            )

"""Before a study is created: can its model and data be built, and is the monitored metric logged."""

from __future__ import annotations

from search.coordinator.assembly import assemble
from search.coordinator.workforce import Workforce
from search.errors import StudyDefinitionError
from search.messages import Inspect, InspectionResult
from search.search_space import Hyperparameters
from search.study_definition import StudyDefinition


def inspection_of(definition: StudyDefinition, hyperparameters: Hyperparameters) -> Inspect:
    """Return the request to try out one point of the search space."""
    return Inspect(
        assembly=assemble(definition, hyperparameters),
        searched=definition.space.names,
        hang_timeout_seconds=definition.resources.hang_timeout_seconds,
    )


def inspect_study(definition: StudyDefinition, workforce: Workforce) -> InspectionResult:
    """Have a worker build everything in the middle of the search space and run one batch.

    Raises:
        StudyDefinitionError: If something of the study does not fit; `key` says what.
        StudyFailedError: If the worker dies over it.
    """
    middle = definition.space.from_units(dict.fromkeys(definition.space.names, 0.5))
    result = workforce.ask(
        inspection_of(definition, middle), InspectionResult, doing="the model was tried out", interruptible=True
    )
    if result.error:
        details = f"\n{result.traceback.rstrip()}" if result.traceback else ""
        raise StudyDefinitionError(f"{result.error}{details}", key=result.error_key)
    if definition.objective.gap_weight > 0.0 and not result.measures_gap:
        raise StudyDefinitionError(
            f"must be 0 where the generalization gap of {definition.objective.monitor!r} cannot be measured, but is "
            f"{definition.objective.gap_weight:g}: {' '.join(result.notices)}",
            key="objective.gap_weight",
        )
    return result

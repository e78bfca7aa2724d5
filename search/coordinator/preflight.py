"""Before a study is created: can its model and data be built, is the monitored metric logged, is training sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lightning_modules.callbacks.metric_names import N_PARAMETERS
from lightning_modules.checks.finding import Finding, Verdict
from search.coordinator.assembly import assemble
from search.coordinator.request import Request
from search.coordinator.workforce import Workforce
from search.errors import StudyDefinitionError, StudyInterruptedError, did_you_mean
from search.messages import Checks, Inspect, InspectionResult
from search.search_space import Choices, Hyperparameters, NumericRange
from search.study_definition import Ensemble, Objective, StudyDefinition

_RATES = ("model.learning_rate", "model.lr")
_SCHEME = "model.init_scheme"

_TRIED_SHARES = (0.5, 0.75, 0.25)
"""Where in the range of the learning rate its values to be tried lie."""


def try_out(
    definition: StudyDefinition,
    hyperparameters: Hyperparameters,
    workforce: Workforce,
    *,
    doing: str,
    notify: Callable[[str], None],
    checks: Checks | None = None,
) -> InspectionResult:
    """Have a worker build everything at one point of the search space and run one batch.

    Args:
        definition: The study.
        hyperparameters: The point.
        workforce: Of which one is asked, and others if it is lost.
        doing: What that is, for messages (``the model was tried out``).
        notify: Told of workers that were lost over it.
        checks: What else is checked, None for nothing.

    Raises:
        StudyFailedError: If workers die over it again and again.
        StudyInterruptedError: If the user stops the study meanwhile.
    """
    order = Inspect(
        assembly=assemble(definition, hyperparameters),
        searched=definition.space.names,
        hang_timeout_seconds=definition.resources.hang_timeout_seconds,
        checks=checks,
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


def middle_of(definition: StudyDefinition) -> Hyperparameters:
    """Return the point at which a study is inspected and checked.

    The middle of each range on its own scale, so the geometric middle of one on a log scale, and of a list of choices
    the one in the middle.
    """
    return definition.space.from_units(dict.fromkeys(definition.space.names, 0.5))


def inspect_study(
    definition: StudyDefinition, workforce: Workforce, *, notify: Callable[[str], None], check: bool = False
) -> InspectionResult:
    """Have a worker build everything in the middle of the search space and run one batch.

    Args:
        definition: The study.
        workforce: Of which one is asked.
        notify: Told of workers that were lost over it.
        check: Whether that batch is looked at; of what is not as it should be, a notice tells.

    Raises:
        StudyDefinitionError: If something of the study does not fit; `key` says what. Or if a check has failed.
        StudyFailedError: If workers die over it again and again.
        StudyInterruptedError: If the user stops the study meanwhile.
    """
    checks = Checks(thorough=False) if check else None
    result = try_out(
        definition, middle_of(definition), workforce, doing="the model was tried out", notify=notify, checks=checks
    )
    require_sound(definition, result)
    failed = [each for each in result.findings if each.verdict is Verdict.FAILED]
    if failed:
        is_in_data = definition.data is not None and failed[0].check.startswith("pixel values")
        raise StudyDefinitionError(
            f"the first batch fails a check. {' '.join(map(in_words, failed))} (`zeroin check` looks further; "
            "`--no-check` runs it all the same.)",
            key="data.class_path" if is_in_data else "model.class_path",
        )
    warnings = [f"check: {in_words(each)}" for each in result.findings if each.verdict is Verdict.WARNING]
    return replace(result, notices=(*result.notices, *warnings))


def check_study(
    definition: StudyDefinition, workforce: Workforce, *, notify: Callable[[str], None]
) -> InspectionResult:
    """Have a worker make all checks of model and data in the middle of the search space.

    Returns:
        With the findings. If the dry run would stop a run of the study, that is the last one of them.

    Raises:
        StudyDefinitionError: If model or data cannot even be built.
        StudyFailedError: If workers die over it again and again.
        StudyInterruptedError: If the user stops it.
    """
    middle = middle_of(definition)
    result = try_out(
        definition,
        middle,
        workforce,
        doing="the model was checked",
        notify=notify,
        checks=thorough_checks(definition, middle),
    )
    try:
        require_sound(definition, result)
    except StudyDefinitionError as error:
        if not result.findings:
            raise
        finding = Finding(
            check="one batch",
            verdict=Verdict.FAILED,
            seen=result.error or str(error).removeprefix(f"{error.key}: "),
            healthy="a batch of training and of validation goes through, and all that the study asks for is measured",
            advice=f"`zeroin run --dry-run` shows where (key {error.key})",
        )
        return replace(result, findings=(*result.findings, finding))
    return result


def thorough_checks(definition: StudyDefinition, point: Hyperparameters) -> Checks:
    """Return what all checks are to know of the searched hyperparameters at a point of the search space.

    The learning rate is the dimension ``model.learning_rate`` or ``model.lr``, if it is numeric and active there; its
    middle and its quarters are tried.
    """
    rates: tuple[float, ...] = ()
    bounds = None
    for dimension in definition.space:
        if dimension.name in _RATES and dimension.name in point and isinstance(dimension.range, NumericRange):
            low, high = dimension.edges()
            bounds = (dimension.range.low, dimension.range.high)
            rates = tuple(dimension.range.unscale(low + share * (high - low)) for share in _TRIED_SHARES)
    schemes = next((each.range for each in definition.space if each.name == _SCHEME), None)
    names = schemes.values if isinstance(schemes, Choices) else ()
    return Checks(thorough=True, learning_rates=rates, learning_rate_range=bounds, init_schemes=tuple(map(str, names)))


def require_sound(definition: StudyDefinition, result: InspectionResult) -> None:
    """Check what an inspection found against what the study asks for.

    Raises:
        StudyDefinitionError: If something does not fit; `key` says what.
    """
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
    _require_cycles(definition, result)


def in_words(finding: Finding) -> str:
    """Return a finding as sentences."""
    advice = f" Try: {finding.advice}." if finding.advice else ""
    return f"{finding.check} {finding.verdict.value}: {finding.seen}; healthy: {finding.healthy}.{advice}"


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


def _require_cycles(definition: StudyDefinition, result: InspectionResult) -> None:
    """Check that a refit may have cycles whose ends are to be kept; which schedule wins, the search tells.

    Raises:
        StudyDefinitionError: If it cannot have any.
    """
    if definition.finish is None or definition.finish.ensemble is not Ensemble.SNAPSHOTS:
        return
    if result.n_lr_cycles is None:
        raise StudyDefinitionError(
            f"must not be snapshots with {definition.model.class_path}, which does not tell where the cycles of its "
            "learning rate end: it has no method `learning_rate_cycle_ends()`.",
            key="finish.ensemble",
        )
    if result.n_lr_cycles == 0 and not any("sched" in name for name in definition.space.names):
        raise StudyDefinitionError(
            f"must not be snapshots where the learning rate has no cycles: give {definition.model.class_path} a cyclic "
            "schedule (`model: {init_args: {lr_schedule: cyclic}}`), or search for one.",
            key="finish.ensemble",
        )

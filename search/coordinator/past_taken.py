"""What a new study takes from before it, looked up in the stores of earlier studies; nothing is written there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

from search.configuration import misfit
from search.coordinator.stores import StoreUris, given_storage
from search.errors import SearchError, StudyDefinitionError, StudyNotFoundError
from search.known_secrets import remember
from search.past import Past, PastObservation, PastTrial, observed, starting_points
from search.seeds import derived_seed
from search.storage import StudyStore, past_trials
from search.study_definition import StudyDefinition
from search.tracking import past_runs
from search.uris import absolute_uri
from search.warm_start_settings import PastSource, SourceKind


def taken_past(definition: StudyDefinition, uris: StoreUris, *, notify: Callable[[str], None]) -> Past | None:
    """Return what a study begins with, None if it takes nothing, or has begun already.

    Args:
        definition: The study.
        uris: Its stores, where earlier studies are looked for unless they say otherwise.
        notify: Told what was found.

    Raises:
        StudyDefinitionError: If an earlier study is not there, or nothing can be learned from it; `key` says which.
    """
    if definition.warm_start is None or _has_begun(definition.study, uris):
        return None
    studies = []
    located: list[PastSource] = []
    for index, source in enumerate(definition.warm_start.sources):
        try:
            located.append(_located(source, uris))
            _require_first(located)
            found, left_out = _observed(located[-1], definition)
        except SearchError as error:
            raise StudyDefinitionError(str(error), key=f"warm_start.studies.{index}") from error
        studies.append(found)
        what = f"{source.kind.value} {source.name!r}"
        notify(f"warm start: {len(found)} trials of {what} are taken as evidence{left_out}.")
    points = starting_points(definition, studies)
    if points:
        notify(f"warm start: tried first are {'; '.join(point.origin for point in points)}.")
    names = (f"{source.kind.value} {source.name}" for source in located)
    seed = derived_seed(definition.seed, "after", definition.study, *names) if located else None
    return Past(starting_points=points, studies=tuple(studies), seed=seed)


def _has_begun(name: str, uris: StoreUris) -> bool:
    try:
        store = StudyStore(uris.storage, create=False)
    except StudyNotFoundError:
        return False
    with closing(store):
        return name in store.names()


def _located(source: PastSource, uris: StoreUris) -> PastSource:
    """Return an earlier study with the store that it is looked for in."""
    remember(source.uri or "")
    if source.kind is SourceKind.STUDY:
        return replace(source, uri=uris.storage if source.uri is None else given_storage(source.uri))
    return replace(source, uri=uris.tracking if source.uri is None else absolute_uri(source.uri))


def _require_first(sources: Sequence[PastSource]) -> None:
    """Refuse the last study if it stands before, too: its trials would count twice."""
    source, first = sources[-1], sources.index(sources[-1])
    if first < len(sources) - 1:
        raise StudyDefinitionError(
            f"each entry must be another study, but got {source.kind.value} {source.name!r}, which "
            f"warm_start.studies.{first} is already."
        )


def _observed(source: PastSource, definition: StudyDefinition) -> tuple[tuple[PastObservation, ...], str]:
    """Return what an earlier study says, and in words what of it says nothing."""
    objective = definition.objective
    trials = _trials(source, definition)
    found = observed(trials, space=definition.space, direction=objective.direction, study=source.name)
    if not found:
        raise StudyDefinitionError(_why_nothing(source, trials, definition))
    reasons = [misfit(definition.space, trial.hyperparameters) for trial in trials]
    misfits = [reason.removesuffix(".") for reason in reasons if reason]
    verb = "has" if len(misfits) == 1 else "have"
    return found, f"; {len(misfits)} {verb} values that this study cannot have ({misfits[0]})" if misfits else ""


def _trials(source: PastSource, definition: StudyDefinition) -> list[PastTrial]:
    assert source.uri is not None
    if source.kind is SourceKind.STUDY:
        return past_trials(source.uri, source.name, objective=definition.objective)
    return past_runs(source.uri, source.name, monitor=definition.objective.monitor)


def _why_nothing(source: PastSource, trials: list[PastTrial], definition: StudyDefinition) -> str:
    what = f"{source.kind.value} {source.name!r}"
    if not trials:
        return f"{what} must have finished trials, but has none."
    names = sorted({name for trial in trials for name in trial.hyperparameters})
    shared = [name for name in names if name in definition.space.names]
    if shared:
        reasons = (misfit(definition.space, trial.hyperparameters) for trial in trials)
        reason = next(filter(None, reasons), f"{', '.join(shared)} depend on arguments that it does not have.")
        return (
            f"trials of {what} must have values that this study can have, but none of its {len(trials)} has: {reason}"
        )
    return (
        f"{what} must share searched arguments with this study ({', '.join(definition.space.names)}), but has "
        f"{', '.join(names) or 'none'}."
    )

"""What a new study takes from before it, looked up in the stores of earlier studies; nothing is written there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from search.coordinator.stores import StoreUris, given_storage
from search.errors import SearchError, StudyDefinitionError, StudyNotFoundError
from search.known_secrets import remember
from search.past import Past, PastObservation, PastTrial, observed, starting_points
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
    for index, source in enumerate(definition.warm_start.sources):
        try:
            studies.append(_observed(source, definition, uris))
        except SearchError as error:
            raise StudyDefinitionError(str(error), key=f"warm_start.studies.{index}") from error
        notify(f"warm start: {len(studies[-1])} trials of {source.kind.value} {source.name!r} are taken as evidence.")
    points = starting_points(definition, studies)
    if points:
        notify(f"warm start: tried first are {'; '.join(point.origin for point in points)}.")
    return Past(starting_points=points, studies=tuple(studies))


def _has_begun(name: str, uris: StoreUris) -> bool:
    try:
        store = StudyStore(uris.storage, create=False)
    except StudyNotFoundError:
        return False
    with closing(store):
        return name in store.names()


def _observed(source: PastSource, definition: StudyDefinition, uris: StoreUris) -> tuple[PastObservation, ...]:
    objective = definition.objective
    trials = _trials(source, definition, uris)
    found = observed(trials, space=definition.space, direction=objective.direction, study=source.name)
    if not found:
        raise StudyDefinitionError(_why_nothing(source, trials, definition))
    return found


def _trials(source: PastSource, definition: StudyDefinition, uris: StoreUris) -> list[PastTrial]:
    remember(source.uri or "")
    if source.kind is SourceKind.STUDY:
        uri = uris.storage if source.uri is None else given_storage(source.uri)
        return past_trials(uri, source.name, objective=definition.objective)
    uri = uris.tracking if source.uri is None else absolute_uri(source.uri)
    return past_runs(uri, source.name, monitor=definition.objective.monitor)


def _why_nothing(source: PastSource, trials: list[PastTrial], definition: StudyDefinition) -> str:
    what = f"{source.kind.value} {source.name!r}"
    if not trials:
        return f"{what} must have finished trials, but has none."
    names = sorted({name for trial in trials for name in trial.hyperparameters})
    shared = [name for name in names if name in definition.space.names]
    if shared:
        where = f"within the hard limits of {', '.join(shared)}"
        return f"trials of {what} must lie {where}, but none of its {len(trials)} does."
    return (
        f"{what} must share searched arguments with this study ({', '.join(definition.space.names)}), but has "
        f"{', '.join(names) or 'none'}."
    )

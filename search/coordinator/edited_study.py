"""Continuing a study whose definition was edited: safe changes are recorded, others refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search.errors import StudyConflictError
from search.observer import StudyObserver
from search.storage import StoredStudy
from search.study_definition import StudyDefinition
from search.study_edits import Begun, judge_edits
from search.study_file import definition_differences, masked_warm_start, with_recorded_defaults
from search.study_views import Edit
from search.uris import masked


def edits_of(study: StoredStudy, given: StudyDefinition) -> tuple[Edit, ...]:
    """Return what differs between a recorded study and the definition given for it.

    Where a study is kept is no part of what it is, nor is another password for the same place of its checkpoints, nor
    what its file has left out from the beginning, whatever the defaults are now.
    """
    begun = Begun(
        first_numbers=tuple(opening.first_trial_number for opening in study.openings()),
        n_trials=study.n_trials,
        finish_has_begun=study.finish_plan() is not None,
        may_be_reopened=study.early_end() is not None and not study.refit_has_begun,
        is_finished=study.result() is not None,
    )
    return judge_edits(study.definition, _kept_as(given, study.definition), begun)


def kept_defaults(recorded: StudyDefinition, given: StudyDefinition) -> str:
    """Return what to tell of the defaults that the study began with and are others now; empty if there are none."""
    changed = definition_differences(with_recorded_defaults(given, recorded), given)
    told = "; ".join(each.line for each in changed)
    return told and f"what the study file leaves out stays as the study began, although defaults have changed: {told}"


def require_safe(edits: Sequence[Edit], *, study: str) -> None:
    """Refuse edits of which any is unsafe.

    Raises:
        StudyConflictError: With all edits, and why each unsafe one cannot be taken.
    """
    if not any(edit.refusal for edit in edits):
        return
    lines = "\n".join(
        f"  {edit.line}\n    {f'refused: {edit.refusal}' if edit.refusal else 'could be taken'}" for edit in edits
    )
    raise StudyConflictError(
        f"study {study!r} exists with another definition, and cannot be continued with this one:\n{lines}\n"
        f"Undo what is refused, go on with it as it is recorded (`zeroin resume {study}`), or start another with --new."
    )


def take_edits(study: StoredStudy, given: StudyDefinition, *, observer: StudyObserver) -> None:
    """Let a study go by an edited definition from now on, and tell what has changed.

    A search that had ended early is judged anew if its stages, or when it ends, have changed.

    One that is finished, but has no `finish`, is taken up again: what it lacks of the new definition is still to come.

    Only who holds the study's lease may do so.

    Raises:
        StudyConflictError: If a change is unsafe; nothing is changed then.
    """
    edits = edits_of(study, given)
    require_safe(edits, study=study.name)
    if notice := kept_defaults(study.definition, given):
        observer.notice(notice)
    if edits:
        if study.result() is not None and study.finish_plan() is None:
            study.forget_result()
        recorded, kept = study.definition, _kept_as(given, study.definition)
        if study.early_end() is not None and (recorded.end_early, recorded.stages) != (kept.end_early, kept.stages):
            study.forget_early_end()
        study.record_definition(kept, edits=[edit.line for edit in edits])
        for edit in edits:
            observer.notice(f"the study's definition has changed: {edit.line}")


def _kept_as(given: StudyDefinition, recorded: StudyDefinition) -> StudyDefinition:
    checkpoints = given.checkpoints and masked(given.checkpoints)
    return replace(
        with_recorded_defaults(given, recorded),
        storage=recorded.storage,
        tracking_uri=recorded.tracking_uri,
        checkpoints=checkpoints,
        warm_start=masked_warm_start(given.warm_start),
    )

"""The refitted model, packaged by a worker, which has its class."""

from __future__ import annotations

from collections.abc import Sequence

from search.coordinator.assembly import assemble, model_args_of
from search.coordinator.request import Request
from search.coordinator.study_context import StudyContext
from search.errors import StateError, StudyFailedError
from search.messages import PackageAssignment, PackageResult
from search.study_definition import FinishSettings
from search.trial import TrialRecord


def package_refits(
    context: StudyContext, refits: Sequence[TrialRecord], settings: FinishSettings, *, notices: list[str]
) -> bool | None:
    """Have a worker write the package: of all members if they are to be an ensemble, else of the first one.

    Whatever goes wrong costs the package, not the study, which has its result.

    Args:
        context: The running study.
        refits: The members that trained to their end.
        settings: How the study ends.
        notices: What the user should know is added to them.

    Returns:
        Whether there is a package now; None if the user interrupted.
    """
    if not (settings.register and refits):
        return False
    try:
        context.paths.remove_model_package()
        members = refits if settings.averages else refits[:1]
        answer = context.pool.ask(
            Request(
                message=_assignment(context, members, settings),
                reply=PackageResult,
                doing="the model was packaged",
                remedy=f"All that was trained is saved in {context.paths.directory}.",
                notify=context.observer.notice,
                interruptible=False,  # it takes seconds, and ends the study
            )
        )
        if answer is None:
            return None
        if answer.is_packaged:
            context.paths.fetch_model_package()
    except (StudyFailedError, StateError, OSError) as error:
        notices.append(f"no model was registered: {error}")
        return False
    notices.extend(answer.notices)
    if answer.error:
        notices.append(f"no model was registered, since packaging it raised {answer.error}")
    return answer.is_packaged


def _assignment(context: StudyContext, members: Sequence[TrialRecord], settings: FinishSettings) -> PackageAssignment:
    paths = [context.paths.trial(record.key) for record in members]
    return PackageAssignment(
        assembly=assemble(context.definition, members[0].hyperparameters),
        trial_keys=tuple(record.key for record in members),
        directories=tuple(str(each.directory) for each in paths),
        file=str(context.paths.model_package),
        checkpoints=tuple(each.checkpoints for each in paths if each.checkpoints),
        file_url=context.paths.checkpoints,
        hang_timeout_seconds=context.definition.resources.hang_timeout_seconds,
        model_args=model_args_of(context.definition, members),
        has_snapshots=settings.keeps_snapshots,
    )

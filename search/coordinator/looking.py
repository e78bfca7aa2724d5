"""Pictures of what the refitted model has learnt to see, as a worker finds them."""

from __future__ import annotations

import dataclasses
import json

from search.coordinator.assembly import assemble
from search.coordinator.request import Request
from search.coordinator.study_context import StudyContext
from search.errors import StudyFailedError
from search.messages import LookAssignment, TestResult, Views
from search.trial import TrialRecord


def look_inside(context: StudyContext, member: TrialRecord, test: TestResult | None, *, notices: list[str]) -> bool:
    """Have a worker look at a refitted member, and keep what it has seen beside the trials for the records.

    Whatever goes wrong costs the pictures, nothing else. The confusion matrix comes from the one reading of the test
    split.

    Args:
        context: The running study.
        member: A refit that trained to its end.
        test: The reading of the test split, None if there was none.
        notices: What the user should know is added to them.

    Returns:
        Whether to go on: False if the user interrupted.
    """
    paths = context.paths.trial(member.key)
    views = Views()
    try:
        context.paths.remove_views()
        answer = context.pool.ask(
            Request(
                message=LookAssignment(
                    assembly=assemble(context.definition, member.hyperparameters),
                    directory=str(paths.directory),
                    checkpoint=paths.checkpoints,
                    hang_timeout_seconds=context.definition.resources.hang_timeout_seconds,
                ),
                reply=Views,
                doing="the model was looked at",
                remedy="All that was trained is saved.",
                notify=context.observer.notice,
                interruptible=False,  # it takes a moment
            )
        )
        if answer is None:
            return False
        views = answer
        if views.error:
            notices.append(f"there are no pictures of the model: looking at it raised {views.error}")
    except (StudyFailedError, OSError) as error:
        notices.append(f"there are no pictures of the model: {error}")
    seen = {**dataclasses.asdict(views), "confusion": () if test is None else test.confusion}
    try:
        context.paths.write_views(json.dumps(seen))
    except OSError as error:
        notices.append(f"the pictures of the model cannot be kept: {error}")
    return True

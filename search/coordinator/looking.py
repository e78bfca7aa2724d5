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


def look_inside(context: StudyContext, member: TrialRecord, test: TestResult | None, *, notices: list[str]) -> None:
    """Have a worker look at a refitted member, and keep what it has seen beside the trials for the records.

    Whatever goes wrong costs the pictures, nothing else. The confusion matrix comes from the one reading of the test
    split.

    Args:
        context: The running study.
        member: A refit that trained to its end.
        test: The reading of the test split, None if there was none.
        notices: What the user should know is added to them.
    """
    paths = context.paths.trial(member.key)
    try:
        views = context.pool.ask(
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
    except StudyFailedError as error:
        notices.append(f"there are no pictures of the model: {error}")
        return
    if views is None:
        return
    if views.error:
        notices.append(f"there are no pictures of the model: looking at it raised {views.error}")
    seen = {**dataclasses.asdict(views), "confusion": () if test is None else test.confusion}
    context.paths.write_views(json.dumps(seen))

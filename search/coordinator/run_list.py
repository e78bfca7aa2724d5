"""Training runs outside the search: a fixed list, each trained to its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from search.coordinator.live_trial import LiveTrial, Verdict, own_verdict
from search.coordinator.study_context import StudyContext
from search.device_use import DeviceUse
from search.trial import TrialRecord


class RunList:
    """A `TrialSource` over runs that are given; those that ended in an earlier session are not run again.

    Args:
        context: The running study.
        runs: What to run; a run that has a log already is continued from it.
    """

    def __init__(self, context: StudyContext, runs: Sequence[TrialRecord]) -> None:
        self._context = context
        self.records: dict[str, TrialRecord] = {run.key: context.logged(run.key) or run for run in runs}
        self._todo = deque(record for record in self.records.values() if not record.state.is_finished)

    def next_trial(self) -> LiveTrial | None:
        """Return the next run that has not ended."""
        return self._context.open_trial(self._todo.popleft()) if self._todo else None

    @property
    def idle_for(self) -> DeviceUse:
        """There are fewer runs than workers."""
        return DeviceUse.ENDING

    def verdict(self, record: TrialRecord) -> Verdict | None:
        """End a run that has had its epochs."""
        return own_verdict(record, self._context.definition)

    def ended(self, record: TrialRecord) -> None:
        """Keep the run's last record."""
        self.records[record.key] = record

    def departed(self, record: TrialRecord) -> None:
        """Remove the checkpoints: nothing continues from them, and a refit has its weights in a file of their own."""
        self._context.paths.trial(record.key).remove_checkpoints()

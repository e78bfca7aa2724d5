"""A trial that a coordinator is working on, and where trials come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from search.device_use import DeviceUse
from search.early_stopping import flat_reason
from search.epoch_log import EpochLog
from search.messages import ModelAssembly, TrialAssignment
from search.paths import TrialPaths
from search.study_definition import Ensemble, FinishSettings, StudyDefinition
from search.trial import CONFIRM, REFIT, TrialRecord, TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The end of a trial, decided after one of its epochs; `traceback` says where the user's code raised, if it did."""

    state: TrialState
    reason: str
    traceback: str = ""


def own_verdict(record: TrialRecord, definition: StudyDefinition) -> Verdict | None:
    """End a trial that has had its epochs or whose own curve is flat, whatever its peers do.

    A confirmation has all its epochs: how long the winner should be refitted is read off its whole curve.
    """
    if len(record.epochs) >= record.n_epochs:
        return Verdict(state=TrialState.COMPLETE, reason=f"{len(record.epochs)} of {record.n_epochs} epochs")
    if definition.early_stopping is None or record.stage in (CONFIRM, REFIT):
        return None
    objective = definition.objective
    flat = flat_reason(record.curve(objective.monitor), direction=objective.direction, rule=definition.early_stopping)
    return Verdict(state=TrialState.STOPPED_EARLY, reason=flat) if flat else None


@dataclass(slots=True, kw_only=True)
class LiveTrial:
    """A trial in the coordinator's hands; `record` is replaced as it goes on.

    Attributes:
        record: Latest snapshot.
        assembly: What its worker builds.
        directory: Its directory (absolute, exists).
        checkpoints: URL of the directory for its checkpoints; empty if they are in `directory`.
        hang_timeout_seconds: Time without a finished batch after which it hangs, or None for never.
        log: Its epoch log, open for appending.
        inherits: Files of the trial whose checkpoint it begins with, None if it begins with nothing.
        finish: How the study ends, which says what weights a refit keeps.
    """

    record: TrialRecord
    assembly: ModelAssembly
    directory: Path
    checkpoints: str
    hang_timeout_seconds: float | None
    log: EpochLog = field(repr=False)
    inherits: TrialPaths | None = None
    finish: FinishSettings | None = None

    def assignment(self) -> TrialAssignment:
        """Return the message that makes a worker train it, from its checkpoint if it has one."""
        finish = self.finish if self.record.stage == REFIT else None
        return TrialAssignment(
            trial_key=self.record.key,
            assembly=self.assembly,
            directory=str(self.directory),
            seed=self.record.seed,
            n_epochs=self.record.n_epochs,
            horizon_epochs=self.record.horizon_epochs,
            resume=True,
            n_epochs_reported=len(self.record.epochs),
            merge_validation=self.record.stage == REFIT,
            hang_timeout_seconds=self.hang_timeout_seconds,
            checkpoints=self.checkpoints,
            inherited_directory="" if self.inherits is None else str(self.inherits.directory),
            inherited_checkpoints="" if self.inherits is None else self.inherits.checkpoints,
            keeps_cycle_ends=finish is not None and finish.ensemble is Ensemble.SNAPSHOTS,
            keeps_last_epochs=0 if finish is None else finish.last_n or 0,
        )


class TrialSource(Protocol):
    """Where the pool gets trials from, and who judges them; used by one thread."""

    def next_trial(self) -> LiveTrial | None:
        """Return the next trial to start or to continue; None if there is none before a running one has ended.

        Asked again after each trial that ends; when none is running any more, None is final.
        """

    @property
    def idle_for(self) -> DeviceUse:
        """What a worker waits for that finds no trial to start."""

    def verdict(self, record: TrialRecord) -> Verdict | None:
        """Decide after the last of the record's epochs: None to go on.

        A pure function of the record and of what is logged of the other trials, so that a resumed study decides alike.
        """

    def ended(self, record: TrialRecord) -> None:
        """Take note of a trial that has ended."""

    def departed(self, record: TrialRecord) -> None:
        """Clean up after a trial that has ended and that no worker touches any more."""

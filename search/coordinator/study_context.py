"""What every phase of a running study shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from search.coordinator.allotment import Allotment
from search.coordinator.assembly import assemble
from search.coordinator.bookkeeping import Bookkeeping
from search.coordinator.ledger import Ledger
from search.coordinator.live_trial import LiveTrial
from search.coordinator.trial_pool import TrialPool
from search.coordinator.trial_recorder import TrialRecorder
from search.epoch_log import EpochLog, read_epoch_log
from search.observer import StudyObserver
from search.paths import StateDirectory, StudyPaths
from search.reward import score
from search.storage import StoredStudy
from search.study_definition import StudyDefinition
from search.tracking import MlflowTracker
from search.trial import FinishedTrial, TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyContext:
    """The stores, the pool and the ears of one running study.

    Attributes:
        paths: The study's files.
        ledger: What the study has spent.
        allotment: What its budget still allows.
        has_test_data: Whether the data or the model define a test split.
    """

    study: StoredStudy
    state: StateDirectory
    paths: StudyPaths
    pool: TrialPool
    recorder: TrialRecorder
    tracker: MlflowTracker
    observer: StudyObserver
    bookkeeping: Bookkeeping
    ledger: Ledger
    allotment: Allotment
    has_test_data: bool

    @property
    def definition(self) -> StudyDefinition:
        """The study's definition."""
        return self.study.definition

    def logged(self, key: str) -> TrialRecord | None:
        """Return what the epoch log of the trial `key` says, None if there is none."""
        return read_epoch_log(self.paths.trial(key).epoch_log, study_uid=self.study.uid)

    def logged_runs(self, phase: str) -> list[TrialRecord]:
        """Return what the epoch logs of a phase after the search say, by key."""
        records = (self.logged(key) for key in self.paths.logged_keys(phase))
        return [record for record in records if record is not None]

    def open_trial(self, record: TrialRecord) -> LiveTrial:
        """Make the trial's directory and open its log, writing its identity, and what it takes over, if it is new.

        Raises:
            StateError: If that is not possible, or the directory is a link.
        """
        paths = self.paths.trial(record.key)
        paths.require_no_link()
        self.state.make(paths.directory)
        logged = self.logged(record.key)
        log = EpochLog(paths.epoch_log)
        if logged is None:
            log.append_trial(record, study_uid=self.study.uid)
        else:
            for epoch in record.epochs[
                len(logged.epochs) :
            ]:  # taken over; a crash came before all of them were written
                log.append_epoch(epoch)
        return LiveTrial(
            record=record,
            assembly=assemble(self.definition, record.hyperparameters),
            directory=paths.directory,
            checkpoints=paths.checkpoints,
            hang_timeout_seconds=self.definition.resources.hang_timeout_seconds,
            log=log,
            inherits=self.paths.trial(record.continues) if record.n_taken_over else None,
            finish=self.definition.finish,
        )

    def with_taken_over(self, record: TrialRecord) -> TrialRecord:
        """Return the record with the epochs that it takes over, if a crash came before its log had them all.

        Where the log of the trial that it continues is gone as well, it does without.
        """
        if record.state.is_finished or len(record.epochs) >= record.n_taken_over:
            return record
        continued = self.logged(record.continues)
        taken = () if continued is None else continued.epochs[: record.n_taken_over]
        epochs = max(record.epochs, taken, key=len)
        return replace(record, epochs=epochs, n_taken_over=len(epochs))

    def finished(self, record: TrialRecord) -> FinishedTrial:
        """Return the trial with its score."""
        return FinishedTrial(record=record, score=score(record, self.definition.objective))


def epochs_by_phase(records: Mapping[str, TrialRecord]) -> dict[str, int]:
    """Count the epochs trained in each stage or phase, in order of appearance."""
    counts: dict[str, int] = {}
    for record in records.values():
        counts[record.stage] = counts.get(record.stage, 0) + record.n_trained
    return counts

"""Everything that is written down when something happens to a trial, in the order that survives a crash.

The epoch log comes first; Optuna, MLflow and the observer follow. What a crash leaves undone, resuming does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from search.coordinator.bookkeeping import Bookkeeping
from search.coordinator.ledger import Ledger
from search.coordinator.live_trial import LiveTrial, Verdict
from search.observer import StudyObserver
from search.reward import score
from search.storage import StoredStudy
from search.tracking import MlflowTracker
from search.trial import REFIT, EpochRecord, Score, TrialRecord, TrialState
from search.wall_clock import CLOCK


class TrialRecorder:
    """Writes trials to their epoch logs, to Optuna and to MLflow, and tells the observer."""

    def __init__(
        self,
        *,
        study: StoredStudy,
        tracker: MlflowTracker,
        observer: StudyObserver,
        bookkeeping: Bookkeeping,
        ledger: Ledger,
    ) -> None:
        self._study = study
        self._tracker = tracker
        self._observer = observer
        self._bookkeeping = bookkeeping
        self._ledger = ledger
        self._objective = study.definition.objective

    def started(self, trial: LiveTrial) -> None:
        """A worker takes the trial."""
        trial.record = replace(trial.record, state=TrialState.RUNNING)
        self._ledger.run_begun()
        self.publish(trial.record)
        self._observer.trial_started(trial.record)

    def epoch_logged(self, trial: LiveTrial, *, epoch: int, metrics: Mapping[str, float]) -> None:
        """Append an epoch to the log: from here on it is known for ever."""
        record = EpochRecord(epoch=epoch, metrics=dict(metrics), time_ms=CLOCK.now_ms())
        with self._bookkeeping.spent_on("reports"):
            trial.log.append_epoch(record)
        trial.record = replace(trial.record, epochs=(*trial.record.epochs, record))
        self._ledger.epoch_trained(seconds=metrics.get("epoch_seconds", math.nan))

    def epoch_published(self, trial: LiveTrial) -> None:
        """Pass the newest epoch on to the stores and the observer."""
        record = trial.record
        self._store_epoch(record, record.epochs[-1])
        self.publish(record)
        self._observer.epoch_finished(record)

    def ended(self, trial: LiveTrial, verdict: Verdict) -> None:
        """Record how the trial ended."""
        time_ms = CLOCK.now_ms()
        with self._bookkeeping.spent_on("reports"):
            trial.log.append_end(
                state=verdict.state, reason=verdict.reason, time_ms=time_ms, traceback=verdict.traceback
            )
        trial.record = replace(
            trial.record,
            state=verdict.state,
            reason=verdict.reason,
            traceback=verdict.traceback,
            finished_ms=time_ms,
        )
        trial_score = self._score(trial.record)
        self._store_end(trial.record, trial_score)
        self.publish(trial.record)
        self._observer.trial_finished(trial.record, trial_score)

    def interrupted(self, trial: LiveTrial) -> None:
        """The trial was paused after writing its checkpoint, to be continued by a resumed study."""
        trial.record = replace(trial.record, state=TrialState.INTERRUPTED)
        trial_score = self._score(trial.record)
        self.publish(trial.record)
        self._observer.trial_finished(trial.record, trial_score)

    def retried(self, trial: LiveTrial, *, reason: str) -> None:
        """The trial lost its worker, or ran out of memory, and will be started again."""
        trial.log.append_retry(reason=reason, time_ms=CLOCK.now_ms())
        trial.record = replace(trial.record, n_retries=trial.record.n_retries + 1)
        self._observer.notice(f"{trial.record.key}: {reason}; continuing from its last checkpoint.")

    def publish(self, record: TrialRecord) -> None:
        """Tell MLflow of a trial, perhaps once more; what it knows already it keeps as it is."""
        with self._bookkeeping.spent_on("tracking"):
            self._tracker.publish_trial(record, self._score(record))

    def repaired(self, record: TrialRecord, *, known_epochs: int, finished_in_storage: bool) -> None:
        """Bring Optuna and MLflow up to what the epoch log says."""
        for epoch in record.epochs[known_epochs:]:
            self._store_epoch(record, epoch)
        if record.state.is_finished and not finished_in_storage:
            self._store_end(record, self._score(record))
            self.publish(record)

    def _store_epoch(self, record: TrialRecord, epoch: EpochRecord) -> None:
        value = epoch.metrics.get(self._objective.monitor, math.nan)
        if record.number is not None and not math.isnan(value):
            with self._bookkeeping.spent_on("storage"):
                self._study.report(record.number, epoch=epoch.epoch, value=value)

    def _store_end(self, record: TrialRecord, trial_score: Score | None) -> None:
        if record.number is not None:
            with self._bookkeeping.spent_on("storage"):
                self._study.finish(record, trial_score)

    def _score(self, record: TrialRecord) -> Score | None:
        # A refit validates on nothing.
        return None if record.stage == REFIT else score(record, self._objective)

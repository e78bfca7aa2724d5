"""Keeps an engine's workers busy with trials: assigns, decides after each epoch, retries what a lost worker leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from search.coordinator.alone import RetriesAlone
from search.coordinator.interruption import Interruption
from search.coordinator.ledger import Ledger
from search.coordinator.live_trial import LiveTrial, TrialSource, Verdict
from search.coordinator.request import MOST_RETRIES, Reply, Request
from search.coordinator.timesheet import Timesheet
from search.coordinator.trial_recorder import TrialRecorder
from search.coordinator.workforce import Workforce
from search.device_use import DeviceUse
from search.early_stopping import divergence_reason
from search.engines.engine import MessageReceived, WorkerLost
from search.errors import StateError
from search.messages import Action, Cause, Decision, EpochReport, Notice, TrialEnded
from search.observer import StudyObserver
from search.trial import TrialState
from search.users_traceback import users_traceback

_POLL_SECONDS = 0.5


@dataclass(slots=True, kw_only=True)
class _Run:
    """A trial on a worker; `verdict` is set once it is decided and only the worker's farewell is missing."""

    trial: LiveTrial
    device: str
    verdict: Verdict | None = None
    paused: bool = False


class TrialPool:
    """Runs trials from a source on the workforce until none is running and the source has no more.

    Args:
        workforce: Where they run.
        recorder: Writes down what happens to them.
        observer: Who watches.
        interruption: Whether the user wants to stop.
        ledger: What the study has spent, stored as time passes.
        told: Notices that the user has read already; none is given twice.
    """

    def __init__(
        self,
        *,
        workforce: Workforce,
        recorder: TrialRecorder,
        observer: StudyObserver,
        interruption: Interruption,
        ledger: Ledger,
        told: Iterable[str],
    ) -> None:
        self._workforce = workforce
        self._recorder = recorder
        self._observer = observer
        self._interruption = interruption
        self._ledger = ledger
        self._runs: dict[int, _Run] = {}
        self._waiting: deque[LiveTrial] = deque()
        self._alone = RetriesAlone()
        self._notices = set(told)

    def run(self, source: TrialSource) -> bool:
        """Run every trial of `source`.

        Returns:
            Whether all of them ended; False if the user interrupted, all trials in flight then being checkpointed.

        Raises:
            StudyFailedError: If no worker can be started.
            StateError: If a trial's directory cannot be written.
        """
        while True:
            self._start_alone()
            found_nothing = self._fill(source)
            if not self._runs and (self._interruption.requested or (found_nothing and not self._alone)):
                return not self._interruption.requested
            events = self._workforce.poll(timeout_seconds=_POLL_SECONDS)
            received_at = self._timesheet.now
            for event in events:
                self._handle(event, source, received_at=received_at)
            self._ledger.store_in_time()

    def ask(self, request: Request[Reply]) -> Reply | None:
        """Have a worker answer a request while nothing else is running; see `Workforce.ask`.

        Raises:
            StudyFailedError: If too many workers are lost over it.
        """
        assert not self._runs
        return self._workforce.ask(request)

    @property
    def _timesheet(self) -> Timesheet:
        return self._workforce.timesheet

    def _fill(self, source: TrialSource) -> bool:
        """Give every idle worker a trial; return whether one was left for which there is none at present."""
        while self._workforce.idle and not self._interruption.requested:
            trial = self._waiting.popleft() if self._waiting else source.next_trial()
            if trial is None:
                self._timesheet.idle_for(source.idle_for)
                return True
            self._timesheet.idle_for(DeviceUse.BETWEEN_TRIALS)
            self._start(trial, source)
        self._timesheet.idle_for(DeviceUse.ENDING if self._interruption.requested else DeviceUse.BETWEEN_TRIALS)
        return False

    def _start_alone(self) -> None:
        """Start those that are to run alone on devices on which nothing runs any more."""
        self._workforce.reserve(self._alone.devices)
        if not self._alone or self._interruption.requested:
            return
        occupied = {run.device for run in self._runs.values()}
        for device in self._alone.devices - occupied:
            worker = self._workforce.take_idle_on(device)
            trial = None if worker is None else self._alone.next_for(device)
            if worker is not None and trial is not None:
                self._put_on(worker, trial)

    def _put_on(self, worker: int, trial: LiveTrial) -> None:
        self._runs[worker] = _Run(trial=trial, device=self._workforce.device_of(worker))
        self._recorder.started(trial)
        self._workforce.send(worker, trial.assignment())

    def _start(self, trial: LiveTrial, source: TrialSource) -> None:
        """Give the trial to an idle worker, unless what is known of it says already that it has ended."""
        verdict = self._verdict(trial, source)
        if verdict is not None:
            self._end(trial, verdict, source)
            source.departed(trial.record)
            return
        self._put_on(self._workforce.take_idle(), trial)

    def _handle(self, event: MessageReceived | WorkerLost, source: TrialSource, *, received_at: float) -> None:
        run = self._runs.get(event.worker)
        if isinstance(event, WorkerLost):
            if run is not None:
                del self._runs[event.worker]
                self._on_lost(run, event, source)
        elif isinstance(event.message, EpochReport):
            assert run is not None
            self._on_epoch(event.worker, run, event.message, source, received_at=received_at)
        elif isinstance(event.message, TrialEnded):
            assert run is not None
            del self._runs[event.worker]
            self._let_go(event.worker, event.message)
            self._timesheet.waited(self._timesheet.now - received_at)
            self._on_ended(run, event.message, source)
        elif isinstance(event.message, Notice):
            self._tell(event.message.text)

    def _on_epoch(
        self, worker: int, run: _Run, report: EpochReport, source: TrialSource, *, received_at: float
    ) -> None:
        trial = run.trial
        is_new = report.epoch == len(trial.record.epochs) + 1
        if is_new:
            self._recorder.epoch_logged(trial, epoch=report.epoch, metrics=report.metrics)
            run.verdict = self._verdict(trial, source)
        self._workforce.send(worker, Decision(trial_key=report.trial_key, epoch=report.epoch, action=self._action(run)))
        self._timesheet.waited(self._timesheet.now - received_at)
        if is_new:
            self._recorder.epoch_published(trial)
        if run.verdict is not None:
            self._end(trial, run.verdict, source)

    def _end(self, trial: LiveTrial, verdict: Verdict, source: TrialSource) -> None:
        self._recorder.ended(trial, verdict)
        source.ended(trial.record)

    def _action(self, run: _Run) -> Action:
        if run.verdict is not None:
            return Action.STOP
        makes_room = run.device in self._alone.devices and not self._alone.is_alone(run.trial)
        run.paused = self._interruption.requested or makes_room
        return Action.PAUSE if run.paused else Action.CONTINUE

    def _verdict(self, trial: LiveTrial, source: TrialSource) -> Verdict | None:
        for last in trial.record.epochs[-1:]:
            diverged = divergence_reason(last.metrics, monitor=trial.assembly.monitor, epoch=last.epoch)
            if diverged:
                return Verdict(state=TrialState.DIVERGED, reason=diverged)
        return source.verdict(trial.record)

    def _let_go(self, worker: int, ended: TrialEnded) -> None:
        """Have the worker take another trial, or replace it where its memory had better be free."""
        if ended.cause is Cause.OUT_OF_MEMORY:
            self._workforce.retire(worker)
        elif self._workforce.has_grown(worker, resident_bytes=ended.resident_bytes):
            self._tell(
                f"a worker held {ended.resident_bytes / 2**30:.1f} GiB after {ended.trial_key}, more than twice as "
                "much as after its first trial, and is replaced: the module or its data leak memory."
            )
            self._workforce.retire(worker)
        else:
            self._workforce.release(worker)

    def _tell(self, notice: str) -> None:
        if notice not in self._notices:
            self._notices.add(notice)
            self._observer.notice(notice)

    def _on_ended(self, run: _Run, ended: TrialEnded, source: TrialSource) -> None:
        for notice in ended.notices:
            self._tell(notice)
        was_alone = self._alone.is_alone(run.trial)
        self._alone.left(run.trial)
        if run.verdict is not None:
            source.departed(run.trial.record)
            return
        if ended.error and ended.cause is Cause.STORAGE:
            raise StateError(f"{run.trial.record.key}: {ended.error}")
        if ended.error and ended.cause is Cause.OUT_OF_MEMORY and self._alone.admits(run.trial):
            self._recorder.retried(run.trial, reason=f"out of memory, tried once more alone on {run.device}")
            self._alone.add(run.trial, device=run.device)
            return
        if ended.error:
            alone = f" (out of memory, alone on {run.device} as well)" if was_alone else ""
            verdict = Verdict(
                state=TrialState.FAILED,
                reason=f"{ended.error}{alone}",
                traceback=users_traceback(ended.traceback),
            )
        elif run.paused:
            self._set_aside(run.trial)
            return
        elif run.trial.record.epochs:
            verdict = Verdict(
                state=TrialState.STOPPED_EARLY,
                reason=f"the module itself ended training after epoch {ended.n_epochs}",
            )
        else:
            verdict = Verdict(state=TrialState.FAILED, reason="training ended without a single epoch")
        self._end(run.trial, verdict, source)
        source.departed(run.trial.record)

    def _set_aside(self, trial: LiveTrial) -> None:
        """A trial was paused: until the study is resumed, or until another one has had its device for itself."""
        if self._interruption.requested:
            self._recorder.interrupted(trial)
        else:
            self._waiting.append(trial)

    def _on_lost(self, run: _Run, lost: WorkerLost, source: TrialSource) -> None:
        was_alone = self._alone.is_alone(run.trial)
        self._alone.left(run.trial)
        if run.verdict is not None:
            source.departed(run.trial.record)
            return
        if run.trial.record.n_retries < MOST_RETRIES:
            self._recorder.retried(run.trial, reason=lost.reason)
            if was_alone:
                self._alone.add(run.trial, device=run.device)
            else:
                self._waiting.append(run.trial)
            return
        verdict = Verdict(
            state=TrialState.FAILED,
            reason=f"given up after {run.trial.record.n_retries + 1} attempts; last: {lost.reason}",
        )
        self._end(run.trial, verdict, source)
        source.departed(run.trial.record)

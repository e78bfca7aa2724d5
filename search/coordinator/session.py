"""One coordinator at work on one study, from taking the lease to giving it back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from search.checkpoint_store import CheckpointStore
from search.coordinator.allotment import Allotment
from search.coordinator.bookkeeping import Bookkeeping, quick_handover
from search.coordinator.early_ending import end_search
from search.coordinator.edited_study import take_edits
from search.coordinator.finish import Finish, publish_finish
from search.coordinator.history import History
from search.coordinator.interruption import Interruption, interruption
from search.coordinator.ledger import Ledger
from search.coordinator.packing import pack_devices
from search.coordinator.past_taken import taken_past
from search.coordinator.preflight import in_words, inspect_study
from search.coordinator.reading import logged_records, read_record
from search.coordinator.search_trials import SearchTrials
from search.coordinator.stores import StoreUris
from search.coordinator.study_context import StudyContext
from search.coordinator.study_home import open_or_create
from search.coordinator.timesheet import Timesheet
from search.coordinator.trial_pool import TrialPool
from search.coordinator.trial_recorder import TrialRecorder
from search.coordinator.workforce import Workforce
from search.credentials import keep_credentials
from search.engines.engine import Engine
from search.errors import SearchError, StateError, StudyFailedError, StudyInterruptedError
from search.lease import Lease
from search.messages import InspectionResult
from search.observer import StudyObserver
from search.one_thread import one_thread
from search.past import Past
from search.paths import StateDirectory, StudyPaths, obstacle_to_writing
from search.storage import StoredStudy, StudyStore
from search.study_definition import StudyDefinition
from search.study_record import StudyRecord, StudyResult
from search.tracking import MlflowTracker, run_tags
from search.uris import local_path, masked

_CLOSE_SECONDS = 5.0
_DELIVERY_SECONDS = 120.0
_HURRIED_DELIVERY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a coordinator needs to work on a study.

    Attributes:
        definition: The study.
        uris: Its stores.
        state: The state directory.
        engine: Where workers run.
        observer: Who watches.
        ends_search: Whether no search trial begins any more, so that the finish can.
        clock: Seconds from any origin, never going back: what wall time and the workers' time are measured by.
        check: Whether the first batch is looked at; a check that fails stops the study before it is created.
    """

    definition: StudyDefinition
    uris: StoreUris
    state: StateDirectory
    engine: Engine
    observer: StudyObserver
    ends_search: bool = False
    clock: Callable[[], float] = time.monotonic
    check: bool = False

    def run(self) -> StudyRecord:
        """Run the study, or what is left of it, to its end.

        Nothing is created before the inspection of the model and the data has passed.

        Returns:
            The finished study.

        Raises:
            StudyDefinitionError: If model, data and study do not fit each other, or there is no such earlier study.
            StudyConflictError: If another coordinator runs the study.
            StateError: If the state directory or a store cannot be written.
            StudyFailedError: If the study cannot go on.
            StudyInterruptedError: If the user stopped it; all is saved.
        """
        paths = self.state.study(self.definition.study)
        try:
            self._require_writable_stores(paths)
            past = taken_past(self.definition, self.uris, notify=self.observer.notice)
        except SearchError:
            self.engine.close(timeout_seconds=0.0)  # one that is on a cluster has joined it already
            raise
        with (
            one_thread(),
            quick_handover(),
            interruption() as interrupted,
            self._workforce(interrupted) as workforce,
        ):
            if paths.lease.exists():
                # A second coordinator is refused at once; the lease proper comes later, as all that is created.
                Lease(paths.lease, study=self.definition.study).release()
            self.observer.checking()
            inspection = inspect_study(self.definition, workforce, notify=self.observer.notice, check=self.check)
            if self.uris.checkpoints is not None:
                CheckpointStore(self.uris.checkpoints, pauses_seconds=()).check()
            for notice in inspection.notices:
                self.observer.notice(notice)
            if self.definition.resources.trials_per_device == "auto":
                packing = pack_devices(self.definition, workforce, inspection, notify=self.observer.notice)
                self.observer.notice(packing.reason)
                workforce.share_devices(n_sharing=packing.n_trials)
            self.state.make(paths.directory)
            lease = Lease(paths.lease, study=self.definition.study)
            try:
                for uri in (self.uris.tracking, self.uris.checkpoints or ""):
                    keep_credentials(paths.credentials, uri)
                with closing(StudyStore(self.uris.storage, create=True, notify=self.observer.notice)) as store:
                    return self._run_leased(store, workforce, interrupted, inspection, past)
            finally:
                lease.release()

    def _require_writable_stores(self, paths: StudyPaths) -> None:
        """Refuse before anything is started what would only be found out later."""
        self.state.require_writable(paths.directory)
        storage = local_path(self.uris.storage)
        obstacle = "" if storage is None else obstacle_to_writing(storage.parent)
        if obstacle:
            raise StateError(f"the Optuna storage {masked(self.uris.storage)} cannot be written: {obstacle}.")

    @contextmanager
    def _workforce(self, interrupted: Interruption) -> Iterator[Workforce]:
        try:
            yield Workforce(self.engine, interruption=interrupted, timesheet=Timesheet(clock=self.clock))
        except KeyboardInterrupt:
            self.engine.close(timeout_seconds=0.0)
            raise StudyInterruptedError(
                f"stopped at once; what had been trained up to the last checkpoints is saved. {self._how_to_resume()}"
            ) from None
        except StateError as error:
            self.engine.close(timeout_seconds=0.0)
            raise StateError(f"{error} Once that is mended: zeroin resume {self.definition.study}") from error
        except BaseException:
            self.engine.close(timeout_seconds=0.0)
            raise
        with suppress(KeyboardInterrupt):  # all is done; whoever is impatient loses nothing
            self.engine.close(timeout_seconds=_CLOSE_SECONDS)

    def _run_leased(
        self,
        store: StudyStore,
        workforce: Workforce,
        interrupted: Interruption,
        inspection: InspectionResult,
        past: Past | None,
    ) -> StudyRecord:
        paths = self.state.study(self.definition.study)
        study, resumed = open_or_create(store, self.definition, paths=paths, observer=self.observer, past=past)
        take_edits(study, self.definition, observer=self.observer)
        tracker = MlflowTracker(
            tracking_uri=self.uris.tracking,
            artifact_root=self.state.artifacts,
            definition=study.definition,
            study_uid=study.uid,
            tags=run_tags(
                versions=workforce.versions,
                device=workforce.device,
                edits=study.edits,
                warnings=[in_words(each) for each in inspection.findings] if self.check else None,
            ),
            notify=self.observer.notice,
        )
        context = self._context(study, workforce, tracker, interrupted, inspection)
        try:
            self._run_tracked(context, resumed=resumed, n_workers=workforce.n_workers)
        except BaseException as error:
            patience_seconds = _tell(tracker, error)
            with suppress(Exception):  # the error that ends the study is the one to be heard of
                _settle(context, patience_seconds=patience_seconds)
            raise
        _settle(context, patience_seconds=_DELIVERY_SECONDS)
        return read_record(study, self.state, self.uris, is_running=False)

    def _run_tracked(self, context: StudyContext, *, resumed: bool, n_workers: int) -> None:
        history = History(context)
        if self.ends_search:
            end_search(context, history)
        record = read_record(context.study, self.state, self.uris, is_running=True)
        context.tracker.publish_study(record)
        publish_finish(context)
        self.observer.study_opened(record, resumed=resumed, n_workers=n_workers)
        result = context.study.result() or _run_phases(context, history)
        if result is None:
            raise StudyInterruptedError(f"stopped; everything is saved. {self._how_to_resume()}")
        context.study.record_result(result)
        record = read_record(context.study, self.state, self.uris, is_running=False)
        paths = context.paths
        context.tracker.publish_result(record, result, package=paths.model_package, views=paths.views)
        self.observer.study_finished(record, result)

    def _context(
        self,
        study: StoredStudy,
        workforce: Workforce,
        tracker: MlflowTracker,
        interrupted: Interruption,
        inspection: InspectionResult,
    ) -> StudyContext:
        bookkeeping = Bookkeeping()
        ledger = Ledger(
            study,
            timesheet=workforce.timesheet,
            n_workers=workforce.n_workers,
            devices_per_worker=study.definition.resources.devices_per_trial / workforce.trials_per_device,
            logged=logged_records(self.state.study(study.name), study.uid),
        )
        recorder = TrialRecorder(
            study=study, tracker=tracker, observer=self.observer, bookkeeping=bookkeeping, ledger=ledger
        )
        pool = TrialPool(
            workforce=workforce,
            recorder=recorder,
            observer=self.observer,
            interruption=interrupted,
            ledger=ledger,
            told=inspection.notices,
        )
        return StudyContext(
            study=study,
            state=self.state,
            paths=self.state.study(study.name).with_checkpoints(self.uris.checkpoints, study_uid=study.uid),
            pool=pool,
            recorder=recorder,
            tracker=tracker,
            observer=self.observer,
            bookkeeping=bookkeeping,
            ledger=ledger,
            allotment=Allotment(definition=study.definition, ledger=ledger),
            has_test_data=inspection.has_test_data,
        )

    def _how_to_resume(self) -> str:
        return f"Go on with: zeroin resume {self.definition.study}"


def _tell(tracker: MlflowTracker, error: BaseException) -> float:
    """Tell MLflow how the study stops; returns how many seconds the rest of the delivery may take."""
    if isinstance(error, StudyFailedError):
        tracker.fail(str(error))
    else:
        tracker.interrupt(str(error) if isinstance(error, SearchError) else "")
    return _DELIVERY_SECONDS if isinstance(error, SearchError) else _HURRIED_DELIVERY_SECONDS


def _settle(context: StudyContext, *, patience_seconds: float) -> None:
    """Deliver what MLflow lacks and store what the session has cost."""
    undelivered = context.tracker.close(timeout_seconds=patience_seconds)
    spent = {**context.bookkeeping.seconds, "mlflow": context.tracker.busy_cpu_seconds}
    context.study.add_bookkeeping(spent)
    context.ledger.store()
    if context.tracker.model_uri:
        context.study.record_model_uri(context.tracker.model_uri)
    if context.study.result() is not None and not undelivered:
        context.study.record_delivery()


def _run_phases(context: StudyContext, history: History) -> StudyResult | None:
    """Run what is left of the stages and the finish; None if the user interrupted."""
    finish = Finish(context=context, history=history)
    if not context.pool.run(finish.following(SearchTrials(context, history))):
        return None
    return finish.run()

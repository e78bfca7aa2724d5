"""Record a study in MLflow from a thread of its own, so that nobody ever waits for MLflow."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

from search.study_definition import StudyDefinition
from search.study_record import ScoredTrial, StageOpening, StudyRecord, StudyResult
from search.tracking.database import ensure_database
from search.tracking.delivery import (
    Delivery,
    Ending,
    GoesOn,
    Item,
    Outcome,
    Pictures,
    StudyIdentity,
    delivery_order,
    is_refusal,
    named,
)
from search.tracking.quiet import prepare_environment, silenced_thread
from search.tracking.registry import Release
from search.trial import Score, TrialRecord
from search.uris import masked, masked_text
from search.wall_clock import CLOCK

_FLUSH_SECONDS = 1.0
_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 60.0
_FAILING_CLOSE_SECONDS = 5.0
_MAX_ERROR_CHARACTERS = 300
_MAX_NAMES = 5

_T = TypeVar("_T")


class MlflowTracker:
    """One study's writer to MLflow; only the coordinator has one.

    Every method but `close` only notes a snapshot and returns; a thread delivers the latest snapshot of each trial
    at most once a second. Delivery is idempotent: after a crash, the records of the whole study may be published again
    and leave the store as an undisturbed run would have. A store that cannot be reached never stops a study: what
    waits is kept, and sent when the store answers again.
    """

    # A study resumed in the same process, as in a notebook, must not find two threads creating its runs.
    _threads: ClassVar[dict[tuple[str, str], threading.Thread]] = {}
    _threads_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        *,
        tracking_uri: str,
        artifact_root: Path | str,
        definition: StudyDefinition,
        study_uid: str,
        tags: Mapping[str, str],
        notify: Callable[[str], None],
        flush_seconds: float = _FLUSH_SECONDS,
    ) -> None:
        """Start the thread, which imports MLflow and creates the database while workers start up.

        Args:
            tracking_uri: Any MLflow tracking URI.
            artifact_root: Directory of artifacts, used where `tracking_uri` is a database; a server knows its own.
            definition: The study; its name is the study's run's, and the experiment's unless another study has that.
            study_uid: Identifier that no other study has, the same whenever the study is resumed: only what bears it
                is touched. Letters, digits and hyphens; the first eight tell studies of one name apart.
            tags: Further tags of the study's run (see `run_tags`); commit and processor are added here.
            notify: Told what the user should know, in the thread that calls a method of this object.
            flush_seconds: How long a change may wait for others of the same run before it is sent, > 0.

        Raises:
            ValueError: If `study_uid` is empty or holds other characters.
        """
        self._tracking_uri = tracking_uri
        self._notify = notify
        self._flush_seconds = flush_seconds
        self._identity = StudyIdentity(
            definition=definition,
            study_uid=study_uid,
            artifact_root=Path(artifact_root).absolute(),
            working_directory=Path.cwd(),
            tags=dict(tags),
            start_ms=CLOCK.now_ms(),
        )
        self._changed = threading.Condition()
        self._waiting: dict[str, Item] = {}
        self._due: dict[str, float] = {}  # on the monotonic clock, for each that waits
        self._in_delivery: dict[str, Item] = {}
        self._refused: dict[str, None] = {}  # names, in the order they were refused
        self._notices: list[str] = []
        self._is_failing = False
        self._is_over = False
        self._has_ended = False
        self._model_uri = ""
        self._closing_deadline = math.inf  # what `close` was given
        self._deadline: float | None = None  # the same, or sooner while MLflow fails
        self._busy_seconds = 0.0
        self._busy_cpu_seconds = 0.0
        prepare_environment()
        self._thread = threading.Thread(target=self._run, name="zeroin-mlflow", daemon=True)
        with self._threads_lock:
            self._predecessor = self._threads.get((tracking_uri, study_uid))
            self._threads[tracking_uri, study_uid] = self._thread
        self._thread.start()

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt to open MLflow or to write to it failed, so that waiting longer may be in vain."""
        return self._is_failing

    @property
    def model_uri(self) -> str:
        """``models:/NAME/VERSION`` of the model that was registered, empty as long as none has been."""
        return self._model_uri

    @property
    def busy_seconds(self) -> float:
        """Wall time that the thread spent on delivery; the import and the database's creation are not counted."""
        return self._busy_seconds

    @property
    def busy_cpu_seconds(self) -> float:
        """Processor time of the same."""
        return self._busy_cpu_seconds

    def publish_study(self, record: StudyRecord) -> None:
        """Note everything recorded so far; a resumed study calls it once, first, and so repairs what a crash left."""
        goes_on = [GoesOn(time_ms=CLOCK.now_ms())] if record.early_end is None else []
        self._put(*goes_on, *record.trials, *record.openings)

    def publish_trial(self, record: TrialRecord, score: Score | None) -> None:
        """Note a trial's latest snapshot, of a search, confirmation or refit run."""
        self._put(ScoredTrial(record=record, score=score))

    def publish_stage(self, opening: StageOpening) -> None:
        """Note that a stage opened."""
        self._put(opening)

    def publish_result(
        self, record: StudyRecord, result: StudyResult, *, package: Path | None = None, views: Path | None = None
    ) -> None:
        """Note that the study is finished; the record's trials are brought up to date once more.

        Args:
            record: The study.
            result: How it ended.
            package: The packaged model to be registered, if the result says that there is one.
            views: What the model has learnt to see, to be drawn if the file exists.
        """
        self._is_over = True
        released = [Release(record=record, result=result, package=package)] if package and result.is_packaged else []
        seen = [Pictures(views=views)] if views is not None and views.exists() else []
        self._put(*record.trials, *record.openings, Outcome(record=record, result=result), *released, *seen)

    def interrupt(self, reason: str = "") -> None:
        """Note that the study stops and can be resumed: unfinished trials and the study end as KILLED.

        After a result it does nothing: the study is over then, whatever goes wrong later.
        """
        if not self._is_over:
            self._put(Ending(status="KILLED", state="interrupted", reason=reason, time_ms=CLOCK.now_ms()))

    def fail(self, reason: str) -> None:
        """Note that the study failed: it ends as FAILED, unfinished trials as KILLED; nothing after a result."""
        if not self._is_over:
            self._put(Ending(status="FAILED", state="failed", reason=reason, time_ms=CLOCK.now_ms()))

    def close(self, *, timeout_seconds: float) -> tuple[str, ...]:
        """Deliver what waits and end the thread.

        Args:
            timeout_seconds: Longest wait, >= 0. While MLflow fails, one more attempt is waited for, 5 seconds at most.

        Returns:
            Names of what could not be delivered, of which a notice tells; empty if all is well. A resumed study that
            publishes its records again delivers it. What MLflow refuses for good is not among them: a notice told.
        """
        with self._changed:
            self._closing_deadline = self._deadline = time.monotonic() + timeout_seconds
            if self._is_failing:
                self._hurry(_FAILING_CLOSE_SECONDS)
            self._changed.notify_all()
            while not self._has_ended and not self._is_too_late():
                self._changed.wait(self._deadline - time.monotonic())
            self._hurry(0.0)
            missing = tuple({**self._in_delivery, **self._waiting})
            refused = tuple(self._refused)
        if missing:
            study = self._identity.definition.study
            self._notice(f"MLflow lacks the latest of {self._listed(missing)}. It is sent by: zeroin resume {study}")
        if len(refused) > 1:  # of the first one a notice told when it happened
            self._notice(f"MLflow refused {self._listed(refused)}.")
        self._pass_on_notices()
        return missing

    def _put(self, *items: Item) -> None:
        due = time.monotonic() + self._flush_seconds
        with self._changed:
            for name, item in named(*items).items():
                self._waiting[name] = item
                self._due.setdefault(name, due)
                if isinstance(item, Outcome | Ending):  # last of all, so whatever waits goes with it
                    self._due = dict.fromkeys(self._waiting, 0.0)
            self._changed.notify_all()
        self._pass_on_notices()

    def _pass_on_notices(self) -> None:
        with self._changed:
            notices, self._notices = self._notices, []
        for notice in notices:
            self._notify(notice)

    def _run(self) -> None:
        """Body of the thread."""
        try:
            if self._predecessor is not None:
                self._predecessor.join()
                self._predecessor = None
            delivery = self._persistently(self._open)
            while delivery is not None and self._next_batch():
                if not self._persistently(partial(self._deliver, delivery)):
                    return
        finally:
            self._end()

    def _end(self) -> None:
        with self._threads_lock:
            key = (self._tracking_uri, self._identity.study_uid)
            if self._threads.get(key) is self._thread:  # not a successor's
                del self._threads[key]
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def _open(self) -> Delivery | None:
        import mlflow

        with silenced_thread():
            ensure_database(self._tracking_uri, str(self._identity.artifact_root))
            client = mlflow.MlflowClient(tracking_uri=self._tracking_uri)
            if self._is_too_late():
                return None
            with self._timed():
                delivery = Delivery(client, tracking_uri=self._tracking_uri, identity=self._identity)
        self._notice_recovery()
        study = self._identity.definition.study
        if delivery.experiment_name != study:
            self._notice(
                f"MLflow at {masked(self._tracking_uri)} has an experiment {study!r} that is not this study's: "
                f"this study is recorded in {delivery.experiment_name!r}."
            )
        return delivery

    def _next_batch(self) -> bool:
        """Wait until something is due and take it; return False if the thread's work is over.

        What is not due yet stays, to be joined by what happens until then: a call of MLflow's costs about the same
        for one epoch as for three, and a short trial fits into one delivery.
        """
        with self._changed:
            while self._deadline is None:
                now = time.monotonic()
                if any(due <= now for due in self._due.values()):
                    break
                self._changed.wait(min(self._due.values()) - now if self._due else None)
            now = math.inf if self._deadline is not None else time.monotonic()
            for name in [name for name, due in self._due.items() if due <= now]:
                del self._due[name]
                self._in_delivery[name] = self._waiting.pop(name)
            return bool(self._in_delivery)

    def _deliver(self, delivery: Delivery) -> bool:
        """Send the batch; what is sent is taken out, so that a retry goes on where this stopped.

        Returns:
            Whether there was time for all of it.
        """
        with silenced_thread(), self._timed():
            for name, item in delivery_order(self._in_delivery):
                if self._is_too_late():
                    return False
                try:
                    delivery.deliver(item)
                except Exception as error:
                    if not is_refusal(error):
                        raise
                    self._refuse(name, error)
                else:
                    with self._changed:
                        self._refused.pop(name, None)
                        self._model_uri = delivery.model_uri
                self._notice_recovery()  # a refusal is an answer too
                with self._changed:
                    del self._in_delivery[name]
        return True

    def _persistently(self, action: Callable[[], _T]) -> _T | None:
        """Return what `action` returns, tried again and again until it succeeds; None if `close` gave up."""
        delay_seconds = _FIRST_RETRY_SECONDS
        while True:
            is_last = self._is_failing and self._deadline is not None
            try:
                return action()
            except Exception as error:  # MLflow, database drivers, HTTP and the OS have no base class in common
                self._notice_failure(error)
            with self._changed:
                if is_last:
                    self._hurry(0.0)
                self._changed.wait_for(lambda: self._deadline is not None, timeout=delay_seconds)
                if self._is_too_late():
                    return None
                if self._deadline is not None:
                    self._changed.wait(min(self._deadline - time.monotonic(), _FIRST_RETRY_SECONDS))
            delay_seconds = min(2.0 * delay_seconds, _LAST_RETRY_SECONDS)

    def _is_too_late(self) -> bool:
        """Whether `close` has given up: from then on nothing may be written."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _hurry(self, seconds: float) -> None:
        """Let `close` give up after that time, if it has been called and would not sooner; holding the lock."""
        if self._deadline is not None:
            self._deadline = min(self._deadline, time.monotonic() + seconds)
            self._changed.notify_all()

    def _notice_failure(self, error: Exception) -> None:
        with self._changed:
            if self._is_failing:
                return
            self._is_failing = True
            self._hurry(_FAILING_CLOSE_SECONDS)
        self._notice(f"MLflow cannot be written to, and is tried again until it can: {self._shown(error)}")

    def _notice_recovery(self) -> None:
        """Say that MLflow answers again, if it did not, and that it did so before `close` gave up."""
        with self._changed:
            if not self._is_failing:
                return
            self._is_failing = False
            if self._is_too_late():
                return
            if self._deadline is not None:
                self._deadline = self._closing_deadline
        self._notice("MLflow can be written to again; what waited is being sent.")

    def _refuse(self, name: str, error: Exception) -> None:
        with self._changed:
            is_first = not self._refused
            self._refused[name] = None
        if is_first:  # one is enough: the next ones are refused for the same reason
            self._notice(f"MLflow refused {name}: {self._shown(error)}")

    def _notice(self, text: str) -> None:
        with self._changed:
            self._notices.append(text)

    def _listed(self, names: Sequence[str]) -> str:
        shown = ", ".join(names[:_MAX_NAMES]) + (", …" if len(names) > _MAX_NAMES else "")
        return f"{len(names)} things in {masked(self._tracking_uri)}: {shown}"

    def _shown(self, error: Exception) -> str:
        text = masked_text(str(error) or type(error).__name__, self._tracking_uri)
        first_line = text.strip().partition("\n")[0][:_MAX_ERROR_CHARACTERS]
        return f"{masked(self._tracking_uri)}: {first_line}"

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Count the time of the block as busy."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self._busy_seconds += time.perf_counter() - wall
            self._busy_cpu_seconds += time.thread_time() - cpu

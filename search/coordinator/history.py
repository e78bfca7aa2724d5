"""What a study has done so far, read from its epoch logs and its storage, with the stores repaired on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from search.comparable_rewards import ComparableRewards
from search.coordinator.allotment import SearchExtent
from search.coordinator.failures import Failures
from search.coordinator.study_context import StudyContext
from search.trial import FinishedTrial, TrialRecord
from search.wall_clock import CLOCK


class History:
    """The search trials of a study so far.

    Args:
        context: The running study; what the stores lack of the epoch logs is written to them.

    Attributes:
        rewards: What the finished trials teach samplers and narrowing.
        failures: What the failed ones failed for.
    """

    def __init__(self, context: StudyContext) -> None:
        self._context = context
        self._finished: dict[int, FinishedTrial] = {}
        self._unfinished: dict[int, TrialRecord] = {}
        self._n_unfinished: Counter[str] = Counter()
        self._n_epochs = 0
        self._numbers: dict[str, int] = {}
        self._continued: dict[str, int] = {}
        self._origins: dict[int, str] = {}
        self._n_promoted: Counter[str] = Counter()
        self.rewards = ComparableRewards(context.definition.objective)
        self.failures = Failures()
        for stored in context.study.trials():
            self._restore(stored)

    @property
    def finished(self) -> tuple[FinishedTrial, ...]:
        """Trials that have ended, by number."""
        return tuple(self._finished[number] for number in sorted(self._finished))

    @property
    def running(self) -> tuple[TrialRecord, ...]:
        """Trials that have begun and not ended, by number."""
        return tuple(self._unfinished[number] for number in sorted(self._unfinished))

    @property
    def origins(self) -> Counter[str]:
        """How many trials come from where, by `TrialRecord.origin`; of those that have one."""
        return Counter(self._origins.values())

    @property
    def n_trials(self) -> int:
        """Trials that have begun."""
        return len(self._finished) + len(self._unfinished)

    @property
    def n_finished(self) -> int:
        """Trials that have ended."""
        return len(self._finished)

    @property
    def n_unfinished(self) -> int:
        """Trials that have begun and not ended."""
        return len(self._unfinished)

    @property
    def extent(self) -> SearchExtent:
        """How far the search has come, counted from what the logs have of each trial."""
        running = self._unfinished.values()
        return SearchExtent(
            n_trials=self.n_trials,
            n_unfinished=len(running),
            n_epochs=self._n_epochs,
            n_epochs_under_way=sum(max(0, each.n_epochs - len(each.epochs)) for each in running),
        )

    @property
    def first_unfinished(self) -> int | None:
        """The lowest number of a trial that has begun and not ended, None if there is none."""
        return min(self._unfinished, default=None)

    def n_unfinished_in(self, stage: str) -> int:
        """Trials of a stage that have begun and not ended."""
        return self._n_unfinished[stage]

    @property
    def promoted_by_stage(self) -> Mapping[str, int]:
        """Trials of each stage that have begun as continuations of others, by its name."""
        return self._n_promoted

    def is_continued(self, key: str) -> bool:
        """Whether another trial continues that one, or has."""
        return key in self._continued

    def is_superseded(self, key: str) -> bool:
        """Whether a finished trial that continued that one tells all that it does."""
        later = self._finished.get(self._continued.get(key, -1))
        return later is not None and later.record.supersedes(self._finished[self._numbers[key]].record)

    @property
    def contending(self) -> Iterator[FinishedTrial]:
        """Trials that have ended; of one and its continuation only one, and none before both have."""
        return (trial for trial in self._finished.values() if not self._is_represented(trial.record))

    def finished_trial(self, number: int) -> FinishedTrial:
        """Return a trial that has ended."""
        return self._finished[number]

    def began(self, record: TrialRecord) -> None:
        """Take note of a trial that begins."""
        assert record.number is not None
        self._note_whence(record)
        self._unfinished[record.number] = record
        self._n_unfinished[record.stage] += 1
        self._n_epochs += record.n_trained

    def advanced(self, record: TrialRecord) -> None:
        """Take note of the epochs of a trial that has begun and not ended; those it has noted already count once."""
        assert record.number is not None
        self._n_epochs += record.n_trained - self._unfinished[record.number].n_trained
        self._unfinished[record.number] = record

    def ended(self, record: TrialRecord) -> FinishedTrial:
        """Take note of a trial that has ended."""
        assert record.number is not None
        self._n_epochs += record.n_trained
        begun = self._unfinished.pop(record.number, None)
        if begun is not None:
            self._n_unfinished[record.stage] -= 1
            self._n_epochs -= begun.n_trained
        self._note_whence(record)
        self._numbers[record.key] = record.number
        trial = self._finished[record.number] = self._context.finished(record)
        self.rewards.add(trial)
        self.failures.ended(record)
        return trial

    def _note_whence(self, record: TrialRecord) -> None:
        if record.origin and record.number is not None:
            self._origins[record.number] = record.origin
        if record.continues and record.continues not in self._continued:
            assert record.number is not None
            self._continued[record.continues] = record.number
            self._n_promoted[record.stage] += not record.action

    def _is_represented(self, record: TrialRecord) -> bool:
        """Whether another trial of the same hyperparameters and seed stands for it, or may when it ends."""
        if self._continued.get(record.key) in self._unfinished or self.is_superseded(record.key):
            return True
        return bool(record.continues) and not self.is_superseded(record.continues)

    def _restore(self, stored: TrialRecord) -> None:
        record = self._context.logged(stored.key)
        finished_in_storage = stored.state.is_finished
        if record is None:
            # Killed between the storage and the log: nothing was trained. A finished trial without its log
            # (a state directory that was cleaned) keeps what the storage knows.
            record = stored if finished_in_storage else replace(stored, epochs=())
        record = self._context.with_taken_over(record)
        self._context.recorder.repaired(
            record, known_epochs=len(stored.epochs), finished_in_storage=finished_in_storage
        )
        CLOCK.witnessed(record.latest_ms)
        if record.state.is_finished:
            self.ended(record)
        else:
            self.began(record)

"""Real trainings in this process, an epoch at a time, whoever asks for them; the best one's weights are kept."""

from __future__ import annotations

import dataclasses
import queue
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from epoch_meter import BudgetSpentError

from lightning_modules.callbacks.checkpoint_files import CHECKPOINT_NAME
from search.messages import Action, EpochReport, FromWorker, TestAssignment, TrialAssignment, TrialEnded
from search.worker.test_reading import read_test
from search.worker.training import train


class Training:
    """What a worker does with an assignment, in a thread that stands still between epochs.

    It is the `Coordinator` of its own worker code: a decision is made when the next epoch is asked for.
    """

    def __init__(self, assignment: TrialAssignment) -> None:
        # Nobody waits for a training that hangs but whoever started the benchmark.
        self.assignment = dataclasses.replace(assignment, hang_timeout_seconds=None)
        self._reports: queue.SimpleQueue[EpochReport | TrialEnded] = queue.SimpleQueue()
        self._decisions: queue.SimpleQueue[Action] = queue.SimpleQueue()
        self._unread: list[EpochReport] = []
        self._thread = threading.Thread(target=self._run, name="training", daemon=True)

    def next_epoch(self) -> EpochReport:
        """Train an epoch, the first one or the next; when this returns, its checkpoint is written.

        Raises:
            RuntimeError: If the training ended by itself.
        """
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._decisions.put(Action.CONTINUE)
        message = self._reports.get()
        if isinstance(message, TrialEnded):
            raise RuntimeError(f"the training ended after epoch {message.n_epochs}: {message.error or 'no error'}")
        return message

    def stop(self) -> None:
        """End it after the last epoch that was asked for."""
        if self._thread.is_alive():
            self._decisions.put(Action.STOP)
            self._thread.join()

    def send(self, message: FromWorker) -> None:
        """Keep a report until its checkpoint is written."""
        if isinstance(message, EpochReport):
            self._unread.append(message)

    def wait_for_decision(self, trial_key: str, epoch: int) -> Action:
        """Hand the report over and wait until it is known whether the training goes on."""
        self._reports.put(self._unread.pop())
        return self._decisions.get()

    def _run(self) -> None:
        self._reports.put(train(self.assignment, self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """The best epoch of all trainings.

    Attributes:
        assignment: Of its training.
        epoch: Which of its epochs, counted from 1.
        metrics: What it logged.
    """

    assignment: TrialAssignment
    epoch: int
    metrics: Mapping[str, float]


class RealTrainings:
    """Trains for a search, one training at a time, and keeps the account.

    Args:
        budget_epochs: Epochs in all, >= 1.
        monitor: The metric that decides who wins; more is better, and of equals the first.
        directory: Where the winner's weights are kept; exists.

    Attributes:
        n_spent: Epochs trained.
        n_begun: Trainings begun.
        training_seconds: Wall time of the epochs and what belongs to them.
        improvements: Epochs spent at each new winner, and its monitored metric.
    """

    def __init__(self, *, budget_epochs: int, monitor: str, directory: Path) -> None:
        self.n_spent = 0
        self.n_begun = 0
        self.training_seconds = 0.0
        self.improvements: list[tuple[int, float]] = []
        self._budget_epochs = budget_epochs
        self._monitor = monitor
        self._directory = directory
        self._current: Training | None = None
        self._winner: Winner | None = None

    def __call__(self, assignment: TrialAssignment, epoch: int) -> Mapping[str, float]:
        """Train one epoch and return what it logged.

        Args:
            assignment: Of the training; if it is another one than in the last call, that one ends.
            epoch: Which of its epochs: the one after those that are reported, or after that of the last call.

        Raises:
            BudgetSpentError: If none is left.
            RuntimeError: If the training fails, or another epoch follows.
        """
        if self.n_spent >= self._budget_epochs:
            self._end_current()
            raise BudgetSpentError
        began = time.perf_counter()
        report = self._training_of(assignment).next_epoch()
        if report.epoch != epoch:
            raise RuntimeError(f"epoch {epoch} of {assignment.trial_key} was to be trained, but got {report.epoch}.")
        self.n_spent += 1
        value = report.metrics[self._monitor]
        if not self.improvements or value > self.improvements[-1][1]:
            self.improvements.append((self.n_spent, value))
            self._winner = Winner(assignment=assignment, epoch=epoch, metrics=report.metrics)
            shutil.copyfile(Path(assignment.directory) / CHECKPOINT_NAME, self._directory / CHECKPOINT_NAME)
        self.training_seconds += time.perf_counter() - began
        return report.metrics

    @property
    def winner(self) -> Winner:
        """The best epoch so far, of at least one."""
        assert self._winner is not None
        return self._winner

    def read_winners_test(self) -> Mapping[str, float]:
        """Evaluate the winner's weights on the test split.

        Raises:
            RuntimeError: If that fails.
        """
        result = read_test(
            TestAssignment(
                assembly=self.winner.assignment.assembly,
                trial_keys=("winner",),
                directories=(str(self._directory),),
                ensemble=False,
            )
        )
        if result.error:
            raise RuntimeError(f"the test split cannot be read: {result.error}\n{result.traceback}")
        return result.members[0]

    def _training_of(self, assignment: TrialAssignment) -> Training:
        if self._current is None or self._current.assignment.trial_key != assignment.trial_key:
            self._end_current()
            self._current = Training(assignment)
            self.n_begun += 1
        return self._current

    def _end_current(self) -> None:
        if self._current is not None:
            self._current.stop()
            self._current = None

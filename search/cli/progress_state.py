"""What is known of a running study at this moment, gathered from what its observer is told; nothing is drawn here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from search.recorded_best import best_of
from search.stage_shares import stage_quotas
from search.study_definition import Objective, StudyDefinition
from search.study_record import ScoredTrial, StageOpening, StudyRecord
from search.trial import Score, TrialRecord, TrialState

_RATE_WINDOW_EPOCHS = 500
_MIN_EPOCHS_FOR_RATE = 3


@dataclass(slots=True, kw_only=True)
class RoundProgress:
    """How far a stage, or a phase after the stages, has come.

    Attributes:
        name: The stage's name, or ``confirm``, ``refit``, ``test``.
        n_runs: Trials in all (in a phase: at most); None for as many as the budget allows.
        n_epochs: Epochs of each at most.
        finished: Keys of the finished trials.
        n_epochs_finished: Epochs that were trained for them together.
        n_failed: Those of them that failed.
        is_open: Whether it has begun.
    """

    name: str
    n_runs: int | None
    n_epochs: int
    finished: set[str] = field(default_factory=set)
    n_epochs_finished: int = 0
    n_failed: int = 0
    is_open: bool = False

    @property
    def n_finished(self) -> int:
        """Finished trials."""
        return len(self.finished)

    @property
    def epochs_per_run(self) -> float:
        """Epochs that a trial is expected to take; pruning and early stopping so far say how many of the most."""
        return (self.n_epochs_finished + self.n_epochs) / (self.n_finished + 1)

    @property
    def epochs_left(self) -> float:
        """Epochs that those that have not finished are expected to take; infinite if they are not counted."""
        return math.inf if self.n_runs is None else (self.n_runs - self.n_finished) * self.epochs_per_run


class StudyProgress:
    """Counts of a running study.

    Attributes:
        definition: The study, None before it is opened.
        stages: Progress of each stage, in order.
        phases: Progress of the phases after the stages that have begun, in order.
        running: Trials that workers have now, by key, in the order they were started.
        best: Best finished search trial.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        """Begin with nothing known.

        Args:
            now: Clock in seconds that never goes back.
        """
        self.definition: StudyDefinition | None = None
        self.stages: list[RoundProgress] = []
        self.phases: list[RoundProgress] = []
        self.running: dict[str, TrialRecord] = {}
        self.best: ScoredTrial | None = None
        self._now = now
        self._began_at = now()
        self._ends_at = math.inf
        self._epoch_times: deque[float] = deque(maxlen=_RATE_WINDOW_EPOCHS)

    @property
    def objective(self) -> Objective:
        """The study's objective."""
        assert self.definition is not None
        return self.definition.objective

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since this object was made, just before the study's preflight."""
        return self._now() - self._began_at

    @property
    def n_finished(self) -> int:
        """Finished search trials."""
        return sum(stage.n_finished for stage in self.stages)

    def open(self, record: StudyRecord) -> None:
        """Take over what a study has done already."""
        self.definition = record.definition
        hours = record.definition.budget.hours
        self._ends_at = math.inf if hours is None else self._now() + 3600.0 * hours - record.spent.wall_seconds
        stages = record.definition.stages
        quotas = stage_quotas(record.definition.budget, stages, first_trial_number=0)
        self.stages = [
            RoundProgress(name=stage.name, n_runs=quota, n_epochs=stage.max_epochs)
            for stage, quota in zip(stages, quotas, strict=True)
        ]
        self.phases = []
        for trial in record.trials:
            if trial.record.state.is_finished:
                self._count(trial.record)
        finished = [trial for trial in record.trials if trial.record.state.is_fully_trained]
        self.best = best_of(finished, objective=record.definition.objective)
        for opening in record.openings:
            self.open_stage(opening)

    def open_stage(self, opening: StageOpening) -> None:
        """Note that a stage has begun; the one before gets no more trials, even if a budget cut it short."""
        if opening.index > 0:
            assert self.definition is not None
            *earlier, before = self.stages[: opening.index]
            before.n_runs = opening.first_trial_number - sum(stage.n_runs or 0 for stage in earlier)
            quotas = stage_quotas(
                self.definition.budget,
                self.definition.stages[opening.index :],
                first_trial_number=opening.first_trial_number,
            )
            for stage, quota in zip(self.stages[opening.index :], quotas, strict=True):
                stage.n_runs = quota
        self.stages[opening.index].is_open = True

    def open_phase(self, name: str, *, n_runs: int, n_epochs: int) -> None:
        """Note that a phase after the stages has begun."""
        self.phases.append(RoundProgress(name=name, n_runs=n_runs, n_epochs=n_epochs, is_open=True))

    def start(self, record: TrialRecord) -> None:
        """Note that a worker took a trial."""
        if not self._epoch_times:
            self._epoch_times.append(self._now())
        self.running[record.key] = record

    def advance(self, record: TrialRecord) -> None:
        """Note that a trial has one epoch more."""
        self._epoch_times.append(self._now())
        self.running[record.key] = record

    def finish(self, record: TrialRecord, score: Score | None) -> bool:
        """Note that a trial ended or was interrupted; return whether it is the best search trial now."""
        self.running.pop(record.key, None)
        if not record.state.is_finished:
            return False
        self._count(record)
        if record.number is None or not record.state.is_fully_trained:
            return False
        latest = ScoredTrial(record=record, score=score)
        contenders = [each for each in (self.best, latest) if each is not None and not record.supersedes(each.record)]
        best = best_of(contenders, objective=self.objective)
        is_better = best is latest
        self.best = best
        return is_better

    def round_of(self, record: TrialRecord) -> RoundProgress | None:
        """Return the stage, or the phase outside the search, that a trial belongs to."""
        rounds = self.phases if record.number is None else self.stages
        return next((each for each in rounds if each.name == record.stage), None)

    def n_running(self, each: RoundProgress) -> int:
        """Trials of a stage or phase that workers have now."""
        return sum(self.round_of(record) is each for record in self.running.values())

    @property
    def epochs_per_second(self) -> float:
        """Epochs finished per second lately, by all workers together; NaN until there are some."""
        if len(self._epoch_times) <= _MIN_EPOCHS_FOR_RATE:
            return math.nan
        seconds = self._now() - self._epoch_times[0]
        return (len(self._epoch_times) - 1) / seconds if seconds > 0.0 else math.nan

    @property
    def seconds_left(self) -> float:
        """Seconds to the study's end at the present rate, with the most that `finish` may take; NaN if unknown.

        A budget of wall time ends it sooner.
        """
        rate = self.epochs_per_second
        planned = self._epochs_left() / rate if rate > 0.0 else math.nan
        left = min(planned, max(0.0, self._ends_at - self._now()))
        return left if left < math.inf else math.nan

    def share_done(self, each: RoundProgress) -> float:
        """Return how much of a stage or phase is done, in ``[0, 1]``; of an open stage, how much of the budget."""
        if each.n_runs is not None:
            return each.n_finished / each.n_runs if each.n_runs else 0.0
        assert self.definition is not None
        budget, shares = self.definition.budget, [0.0]
        if budget.epochs is not None:
            shares.append(self._n_epochs_searched / budget.epochs)
        if budget.hours is not None:
            shares.append(1.0 - (self._ends_at - self._now()) / (3600.0 * budget.hours))
        return min(1.0, max(shares))

    @property
    def _n_epochs_searched(self) -> int:
        """Epochs that search trials have trained."""
        running = (record.n_trained for record in self.running.values() if record.number is not None)
        return sum(stage.n_epochs_finished for stage in self.stages) + sum(running)

    def _epochs_left(self) -> float:
        # A phase that has begun ends everything before it: confirmation drops the losers before all runs are done.
        n_under_way = sum(record.n_trained for record in self.running.values())
        left = sum(each.epochs_left for each in self.phases[-1:] or self.stages) - n_under_way
        budget = None if self.definition is None else self.definition.budget.epochs
        if budget is not None and not self.phases:
            left = min(left, budget - self._n_epochs_searched)
        return max(0.0, left) + sum(each.epochs_left for each in self._phases_to_come())

    def _phases_to_come(self) -> list[RoundProgress]:
        definition = self.definition
        if definition is None or definition.finish is None:
            return []
        settings, begun = definition.finish, {phase.name for phase in self.phases}
        n_epochs = definition.longest_epochs
        plan = {"confirm": settings.top_k * settings.n_seeds, "refit": settings.n_refits}
        if "refit" in begun or "test" in begun:
            return []
        return [
            RoundProgress(name=name, n_runs=n_runs, n_epochs=n_epochs)
            for name, n_runs in plan.items()
            if name not in begun
        ]

    def _count(self, record: TrialRecord) -> None:
        each = self.round_of(record)
        if each is not None:
            each.finished.add(record.key)
            each.n_epochs_finished += record.n_trained
            each.n_failed += record.state is TrialState.FAILED

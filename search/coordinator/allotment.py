"""A running study's view of its budget: may another trial start, must one stop, how large is the finish."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from search.budget import Allowance, affordable_finish, allowances, may_start
from search.coordinator.ledger import Ledger
from search.forecast import Load, Pace, expected_epochs
from search.stage_shares import planned_epochs, stage_part, stage_quotas
from search.study_definition import Budget, FinishSettings, StudyDefinition
from search.study_record import FinishPlan, StageOpening
from search.trial import FinishedTrial

_EPOCHS_PER_WORKER_FOR_A_PACE = 3


@dataclass(slots=True, kw_only=True)
class StageTally:
    """How far a stage has come, counted as its trials begin and end.

    Attributes:
        opening: The stage.
        n_begun: Its trials that have begun.
        n_finished: Those of them that have ended.
        n_epochs: Epochs that were trained for those that have ended.
    """

    opening: StageOpening
    n_begun: int = 0
    n_finished: int = 0
    n_epochs: int = 0

    def count(self, finished: Iterable[FinishedTrial]) -> None:
        """Add trials that have ended; those of other stages are left out."""
        for trial in finished:
            if trial.record.stage == self.opening.name:
                self.n_finished += 1
                self.n_epochs += trial.record.n_trained


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchExtent:
    """How far the whole search has come.

    Attributes:
        n_trials: Trials that have begun.
        n_unfinished: Those of them that have not ended.
        n_epochs: Epochs that were trained for all of them, as their logs have it.
        n_epochs_under_way: Epochs that those under way may still train.
    """

    n_trials: int
    n_unfinished: int
    n_epochs: int
    n_epochs_under_way: int


@dataclass(slots=True, kw_only=True)
class Allotment:
    """The budget of a running study.

    Attributes:
        definition: The study.
        ledger: What it has spent.
    """

    definition: StudyDefinition
    ledger: Ledger

    def last_number(self, opening: StageOpening, following: StageOpening | None) -> int | None:
        """Return the number of a stage's last trial, settled once the next has opened; None if nothing counts them."""
        if following is not None:
            return following.first_trial_number - 1
        quota = self._quotas(opening.index, opening.first_trial_number)[0]
        return None if quota is None else opening.first_trial_number + quota - 1

    def may_open(self, index: int, extent: SearchExtent) -> bool:
        """Whether a stage behind the first may open after the trials that have begun."""
        return self._quotas(index, extent.n_trials)[0] != 0 and not self.stop_reason(extent)

    @property
    def bounds_time(self) -> bool:
        """Whether there is only so much time."""
        return self.definition.budget.hours is not None or self.definition.budget.device_hours is not None

    def may_start(self, tally: StageTally, extent: SearchExtent, *, last_number: int | None) -> bool:
        """Whether a stage may start one more trial; a study's first one always may.

        Args:
            tally: The stage.
            extent: The search, stragglers of the stages before it included.
            last_number: Number of its last trial; None if nothing counts them.
        """
        bounds = self._bounds(extent)
        if not bounds or (tally.opening.index == 0 and tally.n_begun == 0):
            return True
        index, stages = tally.opening.index, self.definition.stages
        n_planned = tally.n_begun + 1 if last_number is None else last_number + 1 - tally.opening.first_trial_number
        mean = expected_epochs(
            n_finished=tally.n_finished, n_epochs=tally.n_epochs, max_epochs=stages[index].max_epochs
        )
        n_stragglers = extent.n_unfinished - (tally.n_begun - tally.n_finished)
        stragglers = [Load(n_runs=n_stragglers, n_epochs=stages[index - 1].max_epochs)] if n_stragglers else []
        return may_start(
            bounds,
            loads=[
                Load(n_runs=n_planned - tally.n_finished, n_epochs=mean),
                *self._later(index, last_number),
                *stragglers,
            ],
            max_epochs=stages[index].max_epochs,
            part=stage_part(stages, index),
            n_begun=tally.n_begun,
            n_running=extent.n_unfinished,
            pace=self._reliable_pace(),
        )

    def stop_reason(self, extent: SearchExtent) -> str:
        """Return why trials under way must stop after their epoch, or an empty string."""
        used_up = (each for each in self._bounds(extent) if not each.search_left > 0.0)
        return next((f"budget used up: {each.words}" for each in used_up), "")

    def finish_plan(self, settings: FinishSettings, extent: SearchExtent, *, n_contenders: int) -> FinishPlan:
        """Return the largest finish that what is left allows."""
        return affordable_finish(
            settings,
            self._bounds(extent),
            n_contenders=n_contenders,
            max_epochs=self.definition.longest_epochs,
            pace=self.ledger.pace,
        )

    def _later(self, index: int, last_number: int | None) -> list[Load]:
        """Return the loads of the stages after one whose last trial has that number; an open one asks for nothing."""
        if last_number is None:
            return []
        stages = self.definition.stages
        later = zip(self._quotas(index + 1, last_number + 1), stages[index + 1 :], strict=True)
        counted = [
            (quota, stage.n_trials) for quota, stage in later if quota is not None and stage.n_trials is not None
        ]
        planned = planned_epochs(stages)[index + 1 :]
        return [
            Load(n_runs=quota, n_epochs=n_epochs / n_trials)
            for (quota, n_trials), n_epochs in zip(counted, planned, strict=True)
        ]

    def _quotas(self, index: int, first_trial_number: int) -> tuple[int | None, ...]:
        """Return the trials that the stage and each one after it may have; None for as many as can be paid for."""
        stages = self.definition.stages[index:]
        return stage_quotas(self.definition.budget, stages, first_trial_number=first_trial_number)

    def _reliable_pace(self) -> Pace:
        """Return the pace, unknown as long as first epochs, which often take longer, would decide it."""
        pace = self.ledger.pace
        if self.ledger.spent.n_epochs < _EPOCHS_PER_WORKER_FOR_A_PACE * pace.n_workers:
            return replace(pace, seconds_per_epoch=math.nan)
        return pace

    def _bounds(self, extent: SearchExtent) -> tuple[Allowance, ...]:
        if replace(self.definition.budget, n_trials=None) == Budget():
            return ()
        return allowances(
            self.definition.budget,
            spent=self.ledger.spent,
            n_epochs=extent.n_epochs,
            n_epochs_under_way=extent.n_epochs_under_way,
            finish=self.definition.finish,
            max_epochs=self.definition.longest_epochs,
            pace=self.ledger.pace,
        )

"""A running study's view of its budget: may another trial start, must one stop, how large is the finish."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from search.budget import (
    SECONDS_PER_HOUR,
    Allowance,
    affordable_finish,
    allowances,
    end_shares,
    may_start,
    stage_quotas,
)
from search.coordinator.ledger import Ledger
from search.forecast import Load, Pace, expected_epochs
from search.study_definition import FinishSettings, StudyDefinition
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


@dataclass(slots=True, kw_only=True)
class Allotment:
    """The budget of a running study.

    Attributes:
        definition: The study.
        ledger: What it has spent.
    """

    definition: StudyDefinition
    ledger: Ledger

    def last_number(self, opening: StageOpening, following: StageOpening | None) -> int:
        """Return the number of a stage's last trial, which is settled once the next stage has opened."""
        if following is not None:
            return following.first_trial_number - 1
        return opening.first_trial_number + self._quotas(opening.index, opening.first_trial_number)[0] - 1

    def is_open(self, index: int, *, n_trials: int) -> bool:
        """Whether a stage behind the first may open, after `n_trials` trials of the stages before it."""
        return self._quotas(index, n_trials)[0] > 0 and not self.stop_reason()

    @property
    def bounds_time(self) -> bool:
        """Whether there is only so much time."""
        return self.definition.budget.hours is not None or self.definition.budget.device_hours is not None

    def may_start(self, tally: StageTally, *, last_number: int, n_unfinished: int) -> bool:
        """Whether a stage may start one more trial; a study's first one always may.

        Args:
            tally: The stage.
            last_number: Number of its last trial.
            n_unfinished: Trials under way, stragglers of the stages before it included.
        """
        bounds = self._bounds()
        if not bounds or (tally.opening.index == 0 and tally.n_begun == 0):
            return True
        index, stages = tally.opening.index, self.definition.stages
        n_planned = last_number + 1 - tally.opening.first_trial_number
        mean = expected_epochs(
            n_finished=tally.n_finished, n_epochs=tally.n_epochs, max_epochs=stages[index].max_epochs
        )
        n_stragglers = n_unfinished - (tally.n_begun - tally.n_finished)
        stragglers = [Load(n_runs=n_stragglers, n_epochs=stages[index - 1].max_epochs)] if n_stragglers else []
        return may_start(
            bounds,
            loads=[
                Load(n_runs=n_planned - tally.n_finished, n_epochs=mean),
                *self._later(index, last_number),
                *stragglers,
            ],
            end_share=end_shares(stages)[index],
            n_begun=tally.n_begun,
            n_running=n_unfinished,
            pace=self._reliable_pace(),
        )

    def stop_reason(self) -> str:
        """Return why trials under way must stop after their epoch, or an empty string."""
        for each in self._bounds():
            if not each.search_left_seconds > 0.0:
                limit = f"{each.name} {each.limit_seconds / SECONDS_PER_HOUR:.4g}"
                return f"budget used up: {limit}, less what the finish needs"
        return ""

    def finish_plan(self, settings: FinishSettings, *, n_contenders: int) -> FinishPlan:
        """Return the largest finish that what is left allows."""
        return affordable_finish(
            settings,
            self._bounds(),
            n_contenders=n_contenders,
            max_epochs=self.definition.stages[-1].max_epochs,
            pace=self.ledger.pace,
        )

    def _later(self, index: int, last_number: int) -> list[Load]:
        """Return the loads of the stages after one whose last trial has that number."""
        quotas = self._quotas(index + 1, last_number + 1)
        later = self.definition.stages[index + 1 :]
        return [Load(n_runs=n, n_epochs=stage.max_epochs) for n, stage in zip(quotas, later, strict=True)]

    def _quotas(self, index: int, first_trial_number: int) -> tuple[int, ...]:
        """Return the trials that the stage and each one after it may have."""
        stages = self.definition.stages[index:]
        return stage_quotas(self.definition.budget, stages, first_trial_number=first_trial_number)

    def _reliable_pace(self) -> Pace:
        """Return the pace, unknown as long as first epochs, which often take longer, would decide it."""
        pace = self.ledger.pace
        if self.ledger.spent.n_epochs < _EPOCHS_PER_WORKER_FOR_A_PACE * pace.n_workers:
            return replace(pace, seconds_per_epoch=math.nan)
        return pace

    def _bounds(self) -> tuple[Allowance, ...]:
        if not self.bounds_time:
            return ()
        return allowances(
            self.definition.budget,
            spent=self.ledger.spent,
            finish=self.definition.finish,
            max_epochs=self.definition.stages[-1].max_epochs,
            pace=self.ledger.pace,
        )

"""The search trials of a study, stage after stage; a stage begins while the stragglers of the one before still run."""

from __future__ import annotations

from collections import deque

from search.coordinator.best_checkpoints import BestCheckpoints
from search.coordinator.early_ending import EarlyEnding
from search.coordinator.failure_streak import FailureStreak
from search.coordinator.history import History
from search.coordinator.live_trial import LiveTrial, TrialSource, Verdict
from search.coordinator.promotions import Promotions
from search.coordinator.search_stage import StageTrials, number_of, open_stage
from search.coordinator.study_context import StudyContext
from search.device_use import DeviceUse
from search.pruning import named_pruner
from search.trial import TrialRecord, TrialState


class SearchTrials:
    """The trials of all stages (a `TrialSource`), first those that an earlier session left unfinished.

    A stage that is open stays so: stragglers of the one before no longer change its ranges, but its sampler learns from
    them as they finish. Once the finish has begun, no trial begins any more; those under way run to their ends.

    Args:
        context: The running study.
        history: Its trials so far.
    """

    def __init__(self, context: StudyContext, history: History) -> None:
        self._context = context
        self._history = history
        definition = context.definition
        self._pruner = named_pruner(definition.pruner, objective=definition.objective, space=definition.space)
        for record in (*(trial.record for trial in history.finished), *history.running):
            self._pruner.learn(record)
        has_succeeded = any(trial.record.state is not TrialState.FAILED for trial in history.finished)
        self._failures = FailureStreak(has_succeeded=has_succeeded)
        self._promotions = Promotions(definition, history)
        for key in self._promotions.paused_keys:
            if not context.paths.trial(key).has_checkpoint():
                self._promotions.lost(key)
        self._checkpoints = BestCheckpoints(
            context.paths, objective=definition.objective, history=history, promotions=self._promotions
        )
        self._early = EarlyEnding(context, history)
        self._unfinished = deque(history.running)
        self._is_closed = context.study.finish_plan() is not None
        self._index = 0
        self._stage = self._open()
        while self._index + 1 < len(context.study.openings()):
            self._index += 1
            self._stage = self._open()
        if self._stage.have_all_begun:
            self._promotions.all_begun(self._index)
        self._checkpoints.tidy()

    @property
    def may_be_followed(self) -> bool:
        """Whether the finish may begin: enough of the last stage's trials have finished.

        Under a budget of time all of them must have: how large a finish it leaves is settled once, when it begins.
        """
        if self._is_closed or self.is_over:
            return True
        may_go_on = self._has_ended_early or (self._is_last_stage and self._stage.may_go_on)
        return not self._context.allotment.bounds_time and may_go_on

    @property
    def is_over(self) -> bool:
        """Whether all trials have ended, and none will begin any more."""
        return not self._history.n_unfinished and (
            self._is_closed or self._has_ended_early or (self._is_last_stage and self._stage.have_all_begun)
        )

    def close(self) -> None:
        """Begin no trial any more, even if more could be afforded later."""
        self._is_closed = True

    @property
    def idle_for(self) -> DeviceUse:
        """Stragglers of a stage, on which the next one, or the finish, depends."""
        is_end = self._is_last_stage and self._context.definition.finish is None
        return DeviceUse.ENDING if is_end else DeviceUse.STAGE_BORDER

    def next_trial(self) -> LiveTrial | None:
        """Return an unfinished trial of an earlier session, else a new one of the latest stage that may have one."""
        if self._unfinished:
            return self._context.open_trial(self._unfinished.popleft())
        if self._is_closed or self._has_ended_early:
            return None
        trial = self._stage.next_trial()
        while trial is None and not self._is_last_stage and self._stage.may_go_on and self._may_open_next:
            self._index += 1
            self._stage = self._open()
            trial = self._stage.next_trial()
        return trial

    def verdict(self, record: TrialRecord) -> Verdict | None:
        """End a trial of any stage."""
        return self._stage.verdict(record)

    def ended(self, record: TrialRecord) -> None:
        """Learn from a trial of any stage.

        Raises:
            StudyFailedError: If trials fail for what they have in common.
        """
        self._stage.ended(record)
        if not self._is_closed:
            self._early.ended(self._history.finished_trial(number_of(record)), n_left=self._stage.n_left)

    def departed(self, record: TrialRecord) -> None:
        """Keep the checkpoints of the best trials only."""
        self._stage.departed(record)

    @property
    def _has_ended_early(self) -> bool:
        return self._early.end is not None

    @property
    def _is_last_stage(self) -> bool:
        return self._index == len(self._context.definition.stages) - 1

    @property
    def _may_open_next(self) -> bool:
        return self._context.allotment.may_open(self._index + 1, self._history.extent)

    def _open(self) -> StageTrials:
        """Open the stage, as it was opened before if it was, and tell of it unless it is over."""
        context = self._context
        opening = open_stage(context, self._history, index=self._index)
        context.tracker.publish_stage(opening)
        self._promotions.opened(self._index)
        stage = StageTrials(
            context=context,
            history=self._history,
            opening=opening,
            pruner=self._pruner,
            failures=self._failures,
            checkpoints=self._checkpoints,
            promotions=self._promotions,
        )
        if not stage.is_over:
            context.observer.stage_opened(opening)
        if not self._is_closed:
            self._early.opened(opening, n_left=stage.n_left)
        return stage


class Succession:
    """Two sources, the second one for workers that find nothing in the first (a `TrialSource`).

    Args:
        search: Search trials.
        finish: Runs outside the search.
    """

    def __init__(self, search: TrialSource, finish: TrialSource) -> None:
        self._search = search
        self._finish = finish

    @property
    def idle_for(self) -> DeviceUse:
        """What the second one waits for."""
        return self._finish.idle_for

    def next_trial(self) -> LiveTrial | None:
        """Return the search's next trial, else the finish's."""
        return self._search.next_trial() or self._finish.next_trial()

    def verdict(self, record: TrialRecord) -> Verdict | None:
        """Let the trial's own source decide."""
        return self._of(record).verdict(record)

    def ended(self, record: TrialRecord) -> None:
        """Tell the trial's own source."""
        self._of(record).ended(record)

    def departed(self, record: TrialRecord) -> None:
        """Tell the trial's own source."""
        self._of(record).departed(record)

    def _of(self, record: TrialRecord) -> TrialSource:
        return self._finish if record.number is None else self._search

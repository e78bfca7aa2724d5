"""One stage of the search: its box, its trials, and when each of them ends."""

from __future__ import annotations

from search.coordinator.allotment import StageTally
from search.coordinator.best_checkpoints import BestCheckpoints
from search.coordinator.failure_streak import FailureStreak
from search.coordinator.history import History
from search.coordinator.live_trial import LiveTrial, Verdict, own_verdict
from search.coordinator.promotions import Promotions
from search.coordinator.proposals import Proposals
from search.coordinator.stage_border import may_go_on
from search.coordinator.study_context import StudyContext
from search.errors import StudyFailedError
from search.forecast import is_due
from search.narrowing import considered, declared, narrow, trials_needed
from search.pruning import Pruner
from search.storage import trial_key
from search.study_definition import NarrowRule, SearchStage
from search.study_forecast import study_forecast
from search.study_record import StageOpening
from search.trial import TrialRecord, TrialState
from search.wall_clock import CLOCK


def open_stage(context: StudyContext, history: History, *, index: int) -> StageOpening:
    """Return the stage's opening: the stored one, else a new one, which is stored once and for all."""
    openings = context.study.openings()
    if index < len(openings):
        return openings[index]
    definition, stage = context.definition, context.definition.stages[index]
    if index == 0:
        narrowed = declared(definition.space)
    else:
        narrowed = narrow(
            history.rewards.observations(),
            openings[-1].narrowed.space,
            direction=definition.objective.direction,
            rule=stage.narrow,
            study_space=definition.space,
        )
    opening = StageOpening(
        index=index,
        name=stage.name,
        narrowed=narrowed,
        first_trial_number=history.n_trials,
        time_ms=CLOCK.now_ms(),
    )
    context.study.record_opening(opening)
    return opening


class StageTrials:
    """The new trials of one stage, and how the trials of any stage end."""

    def __init__(
        self,
        *,
        context: StudyContext,
        history: History,
        opening: StageOpening,
        pruner: Pruner,
        failures: FailureStreak,
        checkpoints: BestCheckpoints,
        promotions: Promotions,
    ) -> None:
        self._context = context
        self._history = history
        self._opening = opening
        self._stage: SearchStage = context.definition.stages[opening.index]
        self._pruner = pruner
        self._failures = failures
        self._checkpoints = checkpoints
        self._promotions = promotions
        self._proposals = Proposals(context=context, history=history, opening=opening, promotions=promotions)
        following = context.study.openings()[opening.index + 1 :]
        self._last_number = context.allotment.last_number(opening, following[0] if following else None)
        n_trials = history.n_trials if self._last_number is None else min(history.n_trials, self._last_number + 1)
        self._tally = StageTally(opening=opening, n_begun=n_trials - opening.first_trial_number)
        self._tally.count(history.finished)
        self._has_told_forecast = False

    def next_trial(self) -> LiveTrial | None:
        """Return a new trial, or None if there is none, at least for now.

        One that the storage has lost the end of, as in a power failure, is taken from its epoch log.
        """
        while self.may_have_another:
            number = self._history.n_trials
            lost = self._context.logged(trial_key(number))
            if lost is None:
                return None if self._promotions.must_wait(self._stage) else self._new_trial(number)
            lost = self._context.with_taken_over(lost)
            self._take_up(lost)
            if not lost.state.is_finished:
                return self._context.open_trial(lost)
        return None

    def _new_trial(self, number: int) -> LiveTrial:
        with self._context.bookkeeping.spent_on("asking"):
            record = self._proposals.next_trial(number)
        self._begin(record)
        return self._context.open_trial(record)

    def _begin(self, record: TrialRecord) -> None:
        with self._context.bookkeeping.spent_on("storage"):
            stored_number = self._context.study.add_trial(record)
        assert stored_number == record.number, f"the storage numbered trial {record.number} as {stored_number}"
        self._history.began(record)
        self._promotions.begun(record)
        self._tally.n_begun += 1

    def _take_up(self, lost: TrialRecord) -> None:
        self._begin(lost)
        self._context.recorder.repaired(lost, known_epochs=0, finished_in_storage=False)
        CLOCK.witnessed(lost.latest_ms)
        self._pruner.learn(lost)
        if lost.state.is_finished:
            self._learn(lost)
            self.departed(lost)

    def _learn(self, record: TrialRecord) -> None:
        trial = self._history.ended(record)
        self._promotions.ended(trial)
        self._pruner.learn(record)
        self._tally.count([trial])

    @property
    def have_all_begun(self) -> bool:
        """Whether as many trials have begun as the stage has at most; never where nothing counts them."""
        return self._last_number is not None and self._history.n_trials > self._last_number

    @property
    def n_left(self) -> int | None:
        """Trials that the stage may still have, >= 0, none once the budget is spent; None if nothing counts them."""
        if self._context.allotment.stop_reason(self._history.extent):
            return 0
        return None if self._last_number is None else max(0, self._last_number + 1 - self._history.n_trials)

    @property
    def may_have_another(self) -> bool:
        """Whether the stage has a new trial left that the budget allows now."""
        return not self.have_all_begun and self._context.allotment.may_start(
            self._tally, self._history.extent, last_number=self._last_number
        )

    @property
    def is_over(self) -> bool:
        """Whether all trials that the stage has at most have ended."""
        return self.have_all_begun and not self._history.n_unfinished_in(self._stage.name)

    @property
    def may_go_on(self) -> bool:
        """Whether enough of the stage's trials have finished for what follows it, and no new one is left or allowed."""
        if self.may_have_another:
            return False
        definition, box = self._context.definition, self._opening.narrowed.space
        following = definition.stages[self._opening.index + 1 :]
        rule = following[0].narrow if following else NarrowRule(rule="none")
        return may_go_on(
            n_finished=self._tally.n_finished,
            n_unfinished=self._history.n_unfinished_in(self._stage.name),
            n_inside=self._history.rewards.n_inside(considered(rule, box, study_space=definition.space)),
            n_needed=trials_needed(rule, len(definition.space)) if following else 0,
        )

    def verdict(self, record: TrialRecord) -> Verdict | None:
        """End a trial that has had its epochs, whose curve is flat, that is worse than its peers, or out of budget.

        What was decided when a trial was promoted stands until it has an epoch of its own.
        """
        self._history.advanced(record)
        if record.n_taken_over and not record.n_trained:
            return None
        verdict = own_verdict(record, self._context.definition)
        if verdict is not None:
            return verdict
        self._pruner.learn(record)
        pruned = self._pruner.prune_reason(record)
        if pruned:
            return Verdict(state=TrialState.PRUNED, reason=pruned)
        stopped = self._context.allotment.stop_reason(self._history.extent) if record.epochs else ""
        return Verdict(state=TrialState.STOPPED, reason=stopped) if stopped else None

    def ended(self, record: TrialRecord) -> None:
        """Learn from the trial.

        Raises:
            StudyFailedError: If trials fail for what they have in common.
        """
        self._learn(record)
        self._require_success(record)
        self._tell_forecast()

    def departed(self, record: TrialRecord) -> None:
        """Keep the checkpoints of the best trials only."""
        trial = self._history.finished_trial(number_of(record))
        self._promotions.departed(trial)
        if self.have_all_begun:
            self._promotions.all_begun(self._opening.index)
        self._checkpoints.departed(trial)

    def _require_success(self, record: TrialRecord) -> None:
        why = self._failures.ended(record, first_unfinished=self._history.first_unfinished)
        if not why:
            return
        output = self._context.paths.trial(record.key).output
        raise StudyFailedError(
            "\n".join(
                [
                    f"{why}, so the study stops. The last one: {record.reason}",
                    *([record.traceback] if record.traceback else []),
                    f"What it printed is in {output}",
                    f"Once the code is mended, go on with: zeroin resume {self._context.definition.study}",
                    "(the failed trials stay failed; if it is the study file that is wrong: zeroin run STUDY --new)",
                ]
            )
        )

    def _tell_forecast(self) -> None:
        """Say once how long it will take, as soon as there is something to go by."""
        n_finished, n_planned = self._tally.n_finished, None
        if self._last_number is not None:
            n_planned = self._last_number + 1 - self._opening.first_trial_number
        if self._has_told_forecast or (n_planned is not None and n_finished >= n_planned):
            return
        pace = self._context.ledger.pace
        if not is_due(n_finished=n_finished, n_trials=n_planned, n_workers=pace.n_workers):
            return
        self._has_told_forecast = True
        forecast = study_forecast(
            self._context.definition,
            openings=self._context.study.openings(),
            trials=[*(trial.record for trial in self._history.finished), *self._history.running],
            spent=self._context.ledger.spent,
            pace=pace,
        )
        if forecast is not None:
            self._context.observer.forecast_made(forecast)


def number_of(record: TrialRecord) -> int:
    """Return the number of a search trial."""
    assert record.number is not None
    return record.number

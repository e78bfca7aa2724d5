"""Whether a running search ends before all its trials: one outlook after each finished trial of its last stage."""

from __future__ import annotations

from collections import deque
from itertools import accumulate

from search.comparable_rewards import ComparableRewards
from search.coordinator.history import History
from search.coordinator.study_context import StudyContext
from search.early_ending import end_reason
from search.sampling import MOST_OBSERVATIONS
from search.search_space import SearchSpace
from search.seeds import derived_seed
from search.study_record import EarlyEnd, Outlook, StageOpening
from search.trial import FinishedTrial
from search.wall_clock import CLOCK

_MOST_OBSERVATIONS = MOST_OBSERVATIONS["staged_gp"]  # it is the same model


def end_search(context: StudyContext, history: History) -> None:
    """Record that no search trial begins any more because the user wants the finish now; those under way go on.

    Nothing is recorded of a search that is over already.

    Args:
        context: The running study.
        history: Its trials.
    """
    study, stages = context.study, context.definition.stages
    planned = [stage.n_trials for stage in stages]
    n_left = None if None in planned else sum(n or 0 for n in planned) - study.n_trials
    if study.early_end() is not None or study.finish_plan() is not None or study.result() is not None or n_left == 0:
        return
    reason = f"its finish was asked for after {history.n_finished} trials"
    study.record_early_end(
        EarlyEnd(reason=reason, outlook=None, n_finished=history.n_finished, n_left=n_left, time_ms=CLOCK.now_ms())
    )
    context.observer.notice(f"the search ends: {reason}; what is under way runs to its end.")


class EarlyEnding:
    """Decides once, and records it: a search that has ended early stays so until its definition is edited.

    A session that goes on asks for the outlooks of an earlier one again: each depends on the trials that had finished
    by then, and on nothing else.

    Args:
        context: The running study; one that does not ask for it costs nothing.
        history: Its trials.

    Attributes:
        end: Why the search ended, None while it goes on.
    """

    def __init__(self, context: StudyContext, history: History) -> None:
        self._context = context
        self._history = history
        self._settings = context.definition.end_early
        self._outlooks: deque[Outlook | None] = deque(maxlen=self._settings.patience_trials if self._settings else 0)
        self._box: SearchSpace | None = None
        self._n_counted = 0
        self.end = context.study.early_end()

    def opened(self, opening: StageOpening, *, n_left: int | None) -> None:
        """Take note of a stage that is open now; the last one may have trials of an earlier session already.

        Args:
            opening: The stage.
            n_left: Its trials that have not begun.
        """
        if self._settings is None or self.end is not None or opening.index + 1 < len(self._context.definition.stages):
            return
        self._box = opening.narrowed.space
        finished = sorted(self._history.finished, key=_finished_order)
        counts = list(accumulate(_counts(trial) for trial in finished))
        self._n_counted = counts[-1] if counts else 0
        judged = [
            index
            for index, (trial, count) in enumerate(zip(finished, counts, strict=True), start=1)
            if self._is_judged(trial, n_counted=count)
        ]
        recent = set(judged[-self._settings.patience_trials :])
        if not recent:
            return
        rewards = ComparableRewards(self._context.definition.objective)
        for index, trial in enumerate(finished, start=1):
            rewards.add(trial)
            if index in recent:
                self._outlooks.append(self._outlook(rewards, self._box, n_finished=index))
        self._decide(n_left=n_left)

    def ended(self, trial: FinishedTrial, *, n_left: int | None) -> None:
        """Judge anew after a trial, and record it if the search ends.

        Args:
            trial: One that has ended just now.
            n_left: Trials of the last stage that have not begun.
        """
        if self._box is None or self.end is not None:
            return
        self._n_counted += _counts(trial)
        if not self._is_judged(trial, n_counted=self._n_counted):
            return
        self._outlooks.append(self._outlook(self._history.rewards, self._box, n_finished=self._history.n_finished))
        self._decide(n_left=n_left)

    def _is_judged(self, trial: FinishedTrial, *, n_counted: int) -> bool:
        """Whether there is an outlook after that trial; one that failed changes nothing."""
        settings = self._settings
        if settings is None or trial.score is None or trial.record.stage != self._context.definition.stages[-1].name:
            return False
        return n_counted >= settings.min_trials

    def _outlook(self, rewards: ComparableRewards, box: SearchSpace, *, n_finished: int) -> Outlook | None:
        from search.sampling.outlook import outlook  # only who asks for it pays for SciPy and Optuna's samplers

        assert self._settings is not None
        definition = self._context.definition
        with self._context.bookkeeping.spent_on("asking"):
            return outlook(
                rewards.informative(box, at_most=_MOST_OBSERVATIONS),
                box=box,
                direction=definition.objective.direction,
                max_epochs=definition.longest_epochs,
                probability=self._settings.probability,
                seed=derived_seed(definition.seed, "outlook", n_finished),
            )

    def _decide(self, *, n_left: int | None) -> None:
        assert self._settings is not None
        reason = end_reason(tuple(self._outlooks), self._settings, n_left=n_left)
        last = self._outlooks[-1]
        if not reason or last is None:
            return
        self.end = EarlyEnd(
            reason=reason,
            outlook=last,
            n_finished=self._history.n_finished,
            n_left=n_left,
            time_ms=CLOCK.now_ms(),
        )
        study, observer = self._context.study, self._context.observer
        study.record_early_end(self.end)
        until = "" if self._context.definition.finish is None else ", until the refit begins"
        observer.notice(
            f"the search ends early: {reason}. `zeroin run` with the study file and `--set end_early=none` goes on "
            f"searching{until}."
        )


def _counts(trial: FinishedTrial) -> bool:
    """Whether it is one of `min_trials`: it did not fail, and a trial and the one that continues it are one."""
    return trial.score is not None and not trial.record.continues


def _finished_order(trial: FinishedTrial) -> tuple[int, int]:
    record = trial.record
    assert record.number is not None
    return (record.finished_ms or 0, record.number)

"""Confirming the best configurations over seeds: which runs are worth a worker, and what they say in the end.

The contenders run in rounds, once a round with a seed that all of them share, and those that are clearly worse are
dropped between rounds (`search.elimination`). What is decided depends on the runs' rewards alone, and never on which of
them ran early: a worker that would be idle begins with a later round, or with the contenders so far while stragglers of
the search still run. A run that turns out to be needless is stopped and its reward ignored; should it be wanted after
all, since a search that had ended went on, it runs once more.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from search.confidence import confidence_intervals
from search.constraint import violation
from search.coordinator.contenders import contenders, contenders_worth
from search.coordinator.history import History
from search.coordinator.live_trial import LiveTrial, Verdict, own_verdict
from search.coordinator.search_trials import SearchTrials
from search.coordinator.study_context import StudyContext
from search.device_use import DeviceUse
from search.elimination import survivors
from search.errors import StudyFailedError
from search.preference import Worth
from search.recorded_best import none_trained
from search.reward import measured_means, score
from search.search_space import Hyperparameters
from search.seeds import derived_seed
from search.study_definition import Direction, FinishSettings, Objective
from search.study_record import Confirmation, FinishPlan
from search.trial import CONFIRM, Score, TrialRecord, TrialState
from search.wall_clock import CLOCK

# Chance of dropping the best contender before its last seed; its runs are then compared by their means anyway.
_ELIMINATION_RISK = 0.1


@dataclass(slots=True, kw_only=True)
class _Rounds:
    """The rounds that are complete.

    Attributes:
        scores: Score of each run in them by contender, in the order of the rounds; None for a failed one.
        eliminated: Dropped contenders, with the number of runs that each had.
    """

    scores: dict[int, list[Score | None]]
    eliminated: dict[int, int]


class Confirmations:
    """The confirmation runs of a study (a `TrialSource`); those that an earlier session began are continued.

    Args:
        context: The running study.
        history: Its search trials.
        settings: How many contenders and seeds; what of it is carried out is settled once, when the first run begins.
        search: The search, whose stragglers may still run; no new trial of it begins from then on.

    Attributes:
        records: The runs that have ended, by key, needless ones too.
    """

    def __init__(
        self, context: StudyContext, history: History, *, settings: FinishSettings, search: SearchTrials
    ) -> None:
        self._context = context
        self._history = history
        self._settings = settings
        self._search = search
        self._settled = context.study.finish_plan()
        self._is_announced = False
        self._known: tuple[int, tuple[int, ...]] = (-1, ())
        self._worth: Worth
        self._begun: set[str] = set()
        self._interrupted: dict[str, TrialRecord] = {}
        self.records: dict[str, TrialRecord] = {}
        for record in context.logged_runs(CONFIRM):
            (self.records if record.state.is_finished else self._interrupted)[record.key] = record
        self._begun.update(self.records)
        # Runs are compared, and their curves averaged: those to come have as many epochs as those begun.
        begun = (*self.records.values(), *self._interrupted.values())
        self._n_epochs = max((run.n_epochs for run in begun), default=context.definition.longest_epochs)

    @property
    def idle_for(self) -> DeviceUse:
        """Stragglers of the search; once confirmations may begin, all that there may be have, and nothing is left."""
        return DeviceUse.ENDING if self._may_begin else DeviceUse.STAGE_BORDER

    def search_is_over(self) -> None:
        """Note that no search trial will be started any more, though some of a stage may never have begun.

        Raises:
            StudyFailedError: If no trial of the search can be confirmed.
        """
        self._search.close()
        self._best_so_far()
        self.plan()

    def plan(self) -> FinishPlan:
        """Return how the finish is carried out, settling it and closing the search if that has not been done."""
        if self._settled is None:
            n_contenders = len(self._best_so_far()) if self._search.is_over else self._settings.top_k
            extent = self._history.extent
            self._settled = self._context.allotment.finish_plan(self._settings, extent, n_contenders=n_contenders)
            self._context.study.record_finish_plan(self._settled)
            self._search.close()
        return self._settled

    def next_trial(self) -> LiveTrial | None:
        """Return the first run of the earliest round that has not begun, of those contenders that are still in."""
        if not self._may_begin or not self._best_so_far():
            return None
        numbers = self._contenders()
        self._announce(numbers)
        rounds = self._rounds(numbers)
        for round_index in range(self.plan().n_seeds):
            for number in numbers:
                if number not in rounds.eliminated and self._wanted_key(number, round_index) not in self._begun:
                    return self._open(number, round_index)
        if self._search.is_over and self._interrupted:
            _, record = self._interrupted.popitem()
            return self._context.open_trial(record)  # needless by now, which its verdict says at once
        return None

    @property
    def _may_begin(self) -> bool:
        """Whether runs may begin.

        On a Pareto front, what is not among the best now may be so later, when its better ones are dominated: runs
        begin when the search is over.
        """
        return self._search.is_over if self._context.definition.objective.further else self._search.may_be_followed

    def verdict(self, record: TrialRecord) -> Verdict | None:
        """End a run that has had its epochs, or that is needless."""
        verdict = own_verdict(record, self._context.definition)
        if verdict is not None:
            return verdict
        number, numbers = _contender(record.key), self._contenders()
        if number not in numbers:
            return Verdict(
                state=TrialState.PRUNED, reason=f"trial {number} is not among the best {len(numbers)} any more"
            )
        n_runs = self._rounds(numbers).eliminated.get(number)
        if n_runs is None:
            return None
        return Verdict(state=TrialState.PRUNED, reason=f"trial {number} was dropped after {n_runs} confirmation runs")

    def ended(self, record: TrialRecord) -> None:
        """Keep the run's last record."""
        self.records[record.key] = record

    def departed(self, record: TrialRecord) -> None:
        """Remove the checkpoints: nothing continues from them."""
        self._context.paths.trial(record.key).remove_checkpoints()

    def outcome(self) -> tuple[Confirmation, ...]:
        """Return the contenders with what their runs said, winner first; all that is needed has run."""
        definition = self._context.definition
        rounds = self._rounds(self._contenders())
        objective = definition.objective
        worst = objective.direction.worst
        worths = self._worths(rounds.scores)
        rewards_of = {
            number: tuple(worst if each is None else each.reward for each in scores)
            for number, scores in rounds.scores.items()
        }
        intervals = confidence_intervals(rewards_of)
        confirmations = []
        for number, scores in rounds.scores.items():
            rewards = rewards_of[number]
            confirmation = Confirmation(
                trial_number=number,
                rewards=rewards,
                best_epochs=tuple(0 if each is None else each.best_epoch for each in scores),
                mean=statistics.fmean(rewards),
                eliminated_after=rounds.eliminated.get(number),
                measured=measured_means(scores, objective),
                violation=_violation(scores, objective),
                interval=intervals.get(number),
            )
            confirmations.append(confirmation)
        means = {number: statistics.fmean(each) for number, each in worths.items()}
        return tuple(
            sorted(
                confirmations,
                key=lambda each: (each.violation, each.eliminated_after is not None, -means[each.trial_number]),
            )
        )

    def runs_of(self, confirmation: Confirmation) -> tuple[TrialRecord, ...]:
        """Return the runs that a confirmation sums up, in the order of its rewards."""
        keys = (self._wanted_key(confirmation.trial_number, index) for index in range(len(confirmation.rewards)))
        return tuple(self.records[key] for key in keys)

    def _best_so_far(self) -> tuple[int, ...]:
        """Return the best trials, as many as the study wants confirmed.

        Raises:
            StudyFailedError: If the search is over and has none.
        """
        n_finished = self._history.n_finished
        if self._known[0] != n_finished:
            numbers = contenders(self._history, self._context, at_most=self._settings.top_k)
            self._known = (n_finished, numbers)
            self._worth = contenders_worth(self._history, self._context)
        if self._search.is_over and not self._known[1]:
            raise no_contender(self._history, self._context)
        return self._known[1]

    def _contenders(self) -> tuple[int, ...]:
        """Return the contenders, those so far while the search is not over."""
        return self._best_so_far()[: self.plan().top_k]

    def _rounds(self, numbers: Sequence[int]) -> _Rounds:
        """Replay the rounds that are complete; there is none before the contenders are known for good."""
        rounds = _Rounds(scores={number: [] for number in numbers}, eliminated={})
        for round_index in range(self.plan().n_seeds if self._search.is_over else 0):
            runs = {
                number: self._wanted_key(number, round_index) for number in numbers if number not in rounds.eliminated
            }
            if not all(key in self.records for key in runs.values()):
                break
            for number, key in runs.items():
                rounds.scores[number].append(score(self.records[key], self._context.definition.objective))
            stay = self._survivors(rounds.scores)
            rounds.eliminated |= {number: round_index + 1 for number in runs if number not in stay}
        return rounds

    def _survivors(self, scores: Mapping[int, Sequence[Score | None]]) -> tuple[int, ...]:
        """Return the contenders that stay; those that break constraints so far neither drop others nor are dropped."""
        objective = self._context.definition.objective
        fit = {number: runs for number, runs in scores.items() if not _violation(runs, objective) > 0.0}
        stay = survivors(self._worths(fit), direction=Direction.MAXIMIZE, risk=_ELIMINATION_RISK)
        return (*stay, *(number for number in scores if number not in fit))

    def _worths(self, scores: Mapping[int, Sequence[Score | None]]) -> dict[int, list[float]]:
        """Return what each run is worth, more is better; -inf for one that failed."""
        return {
            number: [-math.inf if each is None else self._worth(each) for each in runs]
            for number, runs in scores.items()
        }

    def _announce(self, numbers: Sequence[int]) -> None:
        plan = self.plan()
        n_contenders = min(plan.top_k, len(numbers) + self._history.n_unfinished)
        if self._is_announced or not n_contenders:
            return
        self._is_announced = True
        self._context.observer.phase_started(CONFIRM, n_runs=n_contenders * plan.n_seeds, n_epochs=self._n_epochs)

    def _open(self, number: int, round_index: int) -> LiveTrial:
        key = self._wanted_key(number, round_index)
        self._begun.add(key)
        is_new = key not in self._interrupted
        return self._context.open_trial(self._new_run(number, round_index) if is_new else self._interrupted.pop(key))

    def _new_run(self, number: int, round_index: int) -> TrialRecord:
        # Contenders share the seeds, so that their rewards can be compared pair by pair.
        return finish_run(
            self._context,
            key=self._wanted_key(number, round_index),
            stage=CONFIRM,
            hyperparameters=self._history.finished_trial(number).record.hyperparameters,
            seed_index=round_index,
            n_epochs=self._n_epochs,
        )

    def _wanted_key(self, number: int, round_index: int) -> str:
        """Return the key of a contender's run in a round: the first that has not been stopped as needless."""
        keys = (_key(number, round_index, n_before=n) for n in count())
        return next(key for key in keys if not _is_needless(self.records.get(key)))


def finish_run(
    context: StudyContext, *, key: str, stage: str, hyperparameters: Hyperparameters, seed_index: int, n_epochs: int
) -> TrialRecord:
    """Return a new run outside the search; its seed follows from the study's, the phase and `seed_index`."""
    definition = context.definition
    return TrialRecord(
        key=key,
        number=None,
        stage=stage,
        hyperparameters=hyperparameters,
        seed=derived_seed(definition.seed, stage, seed_index),
        n_epochs=n_epochs,
        horizon_epochs=definition.longest_epochs,
        started_ms=CLOCK.now_ms(),
    )


def _violation(runs: Sequence[Score | None], objective: Objective) -> float:
    """Return how far a contender's runs are, in their means, from keeping all constraints; 0 if there are none."""
    if not objective.constraints:
        return 0.0
    if any(each is None or not math.isfinite(each.reward) for each in runs):
        return math.inf
    means = measured_means(runs, objective)
    return violation(each.excess(means[each.metric]) for each in objective.constraints)


def no_contender(history: History, context: StudyContext) -> StudyFailedError:
    """Return the error of a search that has ended without a trial to be recommended."""
    definition = context.definition
    return StudyFailedError(
        none_trained(history.n_finished, monitor=definition.objective.monitor, study=definition.study)
    )


def _key(trial_number: int, seed_index: int, *, n_before: int) -> str:
    key = f"{CONFIRM}-{trial_number:04d}-seed{seed_index}"
    return f"{key}-again{n_before}" if n_before else key


def _is_needless(run: TrialRecord | None) -> bool:
    return run is not None and run.state is TrialState.PRUNED


def _contender(key: str) -> int:
    return int(key.split("-")[1])

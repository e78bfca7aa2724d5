"""After the last stage: confirm the best configurations over seeds, refit the winner, read the test split once."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from search.budget_words import what_was_cut
from search.coordinator.assembly import assemble
from search.coordinator.history import History
from search.coordinator.run_list import RunList
from search.coordinator.search_stage import number_of
from search.coordinator.study_context import StudyContext, epochs_by_phase
from search.coordinator.trial_recorder import now_ms
from search.elimination import survivors
from search.errors import StudyFailedError
from search.messages import TestAssignment, TestResult
from search.reward import best_epoch, score
from search.search_space import Hyperparameters
from search.seeds import derived_seed
from search.study_definition import FinishSettings, SearchStage
from search.study_record import Confirmation, FinishPlan, Spent, StudyResult
from search.trial import CONFIRM, REFIT, FinishedTrial, TrialRecord, TrialState

# Chance of dropping the best contender before its last seed; its runs are then compared by their means anyway.
_ELIMINATION_RISK = 0.1


def contenders(history: History, context: StudyContext) -> tuple[FinishedTrial, ...]:
    """Return the fully trained trials of every stage, best first, by the rewards that they really reached.

    What a short trial might have reached is no reason to prefer it to one that has. Where none is fully trained, those
    that the budget stopped take their place.

    Raises:
        StudyFailedError: If there is none.
    """
    objective = context.definition.objective
    states = [TrialState.COMPLETE, TrialState.STOPPED_EARLY]
    rewards = _rewards(history, states) or _rewards(history, [TrialState.STOPPED])
    if not rewards:
        raise StudyFailedError(
            f"none of {len(history.finished)} trials trained to its end with a finite {objective.monitor}; "
            f"{_why(context)} Mend the study file and run it with --new."
        )
    ranked = sorted(rewards, key=lambda number: (-objective.direction.sign * rewards[number], number))
    trials = {number_of(trial.record): trial for trial in history.finished}
    return tuple(trials[number] for number in ranked)


def _rewards(history: History, states: Collection[TrialState]) -> dict[int, float]:
    return {
        number_of(trial.record): trial.score.reward
        for trial in history.finished
        if trial.record.state in states and trial.score is not None and math.isfinite(trial.score.reward)
    }


def _why(context: StudyContext) -> str:
    return f"`zeroin trials {context.definition.study}` says of each one why."


@dataclass(slots=True, kw_only=True)
class Finish:
    """The finish of one study; every run in it is recorded like a trial and continues after a crash.

    Attributes:
        context: The running study.
        history: Its search trials, all ended.
        records: The runs of the finish by key, filled as they end.
        notices: What the user should know about the result.
    """

    context: StudyContext
    history: History
    records: dict[str, TrialRecord] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def run(self) -> StudyResult | None:
        """Return the result, or None if the user interrupted."""
        settings = self.context.definition.finish
        best = contenders(self.history, self.context)
        if settings is None:
            return self._result(number_of(best[0].record), confirmations=(), refits=(), test=None)
        plan = self._plan(settings, n_contenders=len(best))
        confirmations = self._confirm(best[: plan.top_k], plan)
        if confirmations is None:
            return None
        winner = best[0]
        if confirmations:
            if not math.isfinite(confirmations[0].mean):
                raise StudyFailedError(
                    "no contender could be confirmed: with other seeds, every one of them diverged or failed; "
                    f"{_why(self.context)} Mend the study file and run it with --new."
                )
            winner = next(trial for trial in best if trial.record.number == confirmations[0].trial_number)
        n_epochs = self._refit_epochs(confirmations[0]) if confirmations else _best_epoch(winner)
        refits = self._refit(winner.record.hyperparameters, n_epochs=n_epochs, n_refits=plan.n_refits)
        if refits is None:
            return None
        test = self._test(refits, settings)
        return self._result(number_of(winner.record), confirmations=confirmations, refits=refits, test=test)

    def _plan(self, settings: FinishSettings, *, n_contenders: int) -> FinishPlan:
        """Return how the finish is carried out, settled when it begins."""
        plan = self.context.study.finish_plan()
        if plan is None:
            plan = self.context.allotment.finish_plan(settings, n_contenders=n_contenders)
            self.context.study.record_finish_plan(plan)
        return plan

    def _confirm(self, best: Sequence[FinishedTrial], plan: FinishPlan) -> tuple[Confirmation, ...] | None:
        """Train the contenders with one more seed each, round by round, dropping those that are clearly worse."""
        if not best:
            return ()
        definition = self.context.definition
        self.context.observer.phase_started(
            CONFIRM, n_runs=len(best) * plan.n_seeds, n_epochs=self._last_stage.max_epochs
        )
        rewards: dict[int, list[float]] = {number_of(trial.record): [] for trial in best}
        best_epochs: dict[int, list[int]] = {number: [] for number in rewards}
        eliminated: dict[int, int] = {}
        for round_index in range(plan.n_seeds):
            runs = {
                number_of(trial.record): self._confirmation_run(trial.record, round_index)
                for trial in best
                if number_of(trial.record) not in eliminated
            }
            if not self._run(tuple(runs.values()), merge_validation=False):
                return None
            for number, run in runs.items():
                result = score(self.records[run.key], definition.objective)
                rewards[number].append(result.reward if result is not None else definition.objective.direction.worst)
                best_epochs[number].append(result.best_epoch if result is not None else 0)
            stay = survivors(rewards, direction=definition.objective.direction, risk=_ELIMINATION_RISK)
            eliminated |= {number: round_index + 1 for number in runs if number not in stay}
        confirmations = [
            Confirmation(
                trial_number=number,
                rewards=tuple(rewards[number]),
                best_epochs=tuple(best_epochs[number]),
                mean=statistics.fmean(rewards[number]),
                eliminated_after=eliminated.get(number),
            )
            for number in rewards
        ]
        sign = definition.objective.direction.sign
        return tuple(sorted(confirmations, key=lambda each: (each.eliminated_after is not None, -sign * each.mean)))

    def _confirmation_run(self, record: TrialRecord, round_index: int) -> TrialRecord:
        # Contenders share the seeds, so that their rewards can be compared pair by pair.
        return self._new_run(
            key=_confirmation_key(number_of(record), round_index),
            stage=CONFIRM,
            hyperparameters=record.hyperparameters,
            seed_index=round_index,
            n_epochs=self._last_stage.max_epochs,
        )

    def _refit(
        self, hyperparameters: Hyperparameters, *, n_epochs: int, n_refits: int
    ) -> tuple[TrialRecord, ...] | None:
        """Train the winner on train + val, once per seed."""
        self.context.observer.phase_started(REFIT, n_runs=n_refits, n_epochs=n_epochs)
        runs = [
            self._new_run(
                key=f"refit-seed{index}",
                stage=REFIT,
                hyperparameters=hyperparameters,
                seed_index=index,
                n_epochs=n_epochs,
            )
            for index in range(n_refits)
        ]
        if not self._run(runs, merge_validation=True):
            return None
        ended = [self.records[run.key] for run in runs]
        fit = tuple(record for record in ended if record.state.is_fully_trained)
        for record in fit:
            self.context.paths.trial(record.key).fetch_weights()
        self.notices.extend(f"{record.key} {record.state}: {record.reason}" for record in ended if record not in fit)
        return fit

    def _refit_epochs(self, winner: Confirmation) -> int:
        """Return the epoch at which the confirmations' mean of the monitored metric was best, the latest of equals."""
        objective = self.context.definition.objective
        runs = [self.records[_confirmation_key(winner.trial_number, index)] for index in range(len(winner.rewards))]
        curves = [run.curve(objective.monitor) for run in runs if run.state is TrialState.COMPLETE]
        if not curves:
            return max(1, *winner.best_epochs)
        means = [statistics.fmean(values) for values in zip(*curves, strict=True)]
        best = best_epoch(tuple(reversed(means)), objective.direction)
        return len(means) + 1 - best if best else len(means)

    def _test(self, refits: Sequence[TrialRecord], settings: FinishSettings) -> TestResult | None:
        if not refits:
            self.notices.append("no refit trained to its end, so the test split was not read.")
            return None
        if not self.context.has_test_data:
            self.notices.append("there is no test split: neither the data nor the model define `test_dataloader()`.")
            return None
        result = self.context.study.test_result() or self._read_test(refits, settings)
        self.notices.extend(result.notices)
        if result.error:
            self.notices.append(f"the test split could not be read: {result.error}")
            return None
        return result

    def _read_test(self, refits: Sequence[TrialRecord], settings: FinishSettings) -> TestResult:
        self.context.observer.phase_started("test", n_runs=1, n_epochs=0)
        self.context.study.count_test_reading()
        paths = [self.context.paths.trial(record.key) for record in refits]
        result = self.context.pool.ask(
            TestAssignment(
                assembly=assemble(self.context.definition, refits[0].hyperparameters),
                trial_keys=tuple(record.key for record in refits),
                directories=tuple(str(each.directory) for each in paths),
                checkpoints=tuple(each.checkpoints for each in paths if each.checkpoints),
                ensemble=settings.ensemble,
            ),
            TestResult,
            doing="the test split was read",
        )
        self.context.study.record_test_result(result)
        return result

    def _result(
        self,
        winner: int,
        *,
        confirmations: tuple[Confirmation, ...],
        refits: Sequence[TrialRecord],
        test: TestResult | None,
    ) -> StudyResult:
        spent = self.context.ledger.spent
        searched = {trial.record.key: trial.record for trial in self.history.finished}
        return StudyResult(
            best_trial_number=winner,
            confirmations=confirmations,
            refit_keys=tuple(record.key for record in refits),
            refit_epochs=max((len(record.epochs) for record in refits), default=0),
            test_members=test.members if test else (),
            test_ensemble=test.ensemble if test else {},
            n_test_samples=test.n_samples if test else 0,
            n_test_readings=self.context.study.n_test_readings,
            n_epochs=epochs_by_phase({**searched, **self.records}),
            notices=(*self._cuts(spent), *self.notices),
            seconds=spent.wall_seconds,
            device_seconds=spent.device_seconds,
            time_ms=now_ms(),
        )

    def _cuts(self, spent: Spent) -> tuple[str, ...]:
        records = [trial.record for trial in self.history.finished]
        return what_was_cut(self.context.definition, records, spent=spent, plan=self.context.study.finish_plan())

    def _run(self, runs: Sequence[TrialRecord], *, merge_validation: bool) -> bool:
        source = RunList(self.context, runs, merge_validation=merge_validation)
        finished = self.context.pool.run(source)
        self.records.update(source.records)
        return finished

    def _new_run(
        self, *, key: str, stage: str, hyperparameters: Hyperparameters, seed_index: int, n_epochs: int
    ) -> TrialRecord:
        return TrialRecord(
            key=key,
            number=None,
            stage=stage,
            hyperparameters=hyperparameters,
            seed=derived_seed(self.context.definition.seed, stage, seed_index),
            n_epochs=n_epochs,
            horizon_epochs=self.context.definition.horizon_epochs(self._last_stage),
            started_ms=now_ms(),
        )

    @property
    def _last_stage(self) -> SearchStage:
        return self.context.definition.stages[-1]


def _best_epoch(trial: FinishedTrial) -> int:
    return trial.score.best_epoch if trial.score is not None else 1


def publish_finish(context: StudyContext) -> None:
    """Tell MLflow of the runs of the finish that have ended; a crash may have come before it was told."""
    for path in sorted(context.paths.directory.glob("*/epochs.jsonl")):
        record = context.logged(path.parent.name)
        if record is not None and record.number is None and record.state.is_finished:
            context.recorder.published(record)


def _confirmation_key(trial_number: int, seed_index: int) -> str:
    return f"confirm-{trial_number:04d}-seed{seed_index}"

"""After the last stage: confirm the best configurations over seeds, refit, read the test split once, package."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from search.budget_words import what_was_cut
from search.coordinator.assembly import assemble, model_args_of
from search.coordinator.confirmations import Confirmations, finish_run, no_contender
from search.coordinator.contenders import contenders
from search.coordinator.ensemble_gains import fallen_short, gains_on_test
from search.coordinator.history import History
from search.coordinator.live_trial import TrialSource
from search.coordinator.looking import look_inside
from search.coordinator.packaging import package_refits
from search.coordinator.request import Request
from search.coordinator.run_list import RunList
from search.coordinator.search_trials import SearchTrials, Succession
from search.coordinator.study_context import StudyContext, epochs_by_phase
from search.errors import StudyFailedError, StudyInterruptedError
from search.messages import TestAssignment, TestResult
from search.narrowing import crowded_edges
from search.recorded_best import why_not
from search.reward import best_epoch
from search.study_definition import Ensemble, FinishSettings
from search.study_record import Confirmation, CrowdedEdge, StudyResult
from search.trial import CONFIRM, REFIT, TrialRecord, TrialState
from search.users_traceback import users_traceback
from search.wall_clock import CLOCK


@dataclass(slots=True, kw_only=True)
class Finish:
    """The finish of one study; every run in it is recorded like a trial and continues after a crash.

    Attributes:
        context: The running study.
        history: Its search trials.
        records: The runs of the finish by key, filled as they end.
        notices: What the user should know about the result.
        confirmations: The confirmation runs, which begin in the search already; None if there are none.
    """

    context: StudyContext
    history: History
    records: dict[str, TrialRecord] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    confirmations: Confirmations | None = None

    def following(self, search: SearchTrials) -> TrialSource:
        """Return the search's trials and, for workers that find none, the confirmations of its best ones."""
        settings = self.context.definition.finish
        if settings is None:
            return search
        self.confirmations = Confirmations(self.context, self.history, settings=settings, search=search)
        return Succession(search, self.confirmations)

    def run(self) -> StudyResult | None:
        """Return the result, or None if the user interrupted; what `following` returned has run."""
        settings, confirmations = self.context.definition.finish, self.confirmations
        if settings is None or confirmations is None:
            self._tell_infeasible(())
            return self._result(self._best_of_search(), confirmations=(), refits=(), test=None)
        confirmations.search_is_over()
        if not self.context.pool.run(confirmations):
            return None
        self.records.update(confirmations.records)
        plan, confirmed = confirmations.plan(), confirmations.outcome()
        if confirmed and not math.isfinite(confirmed[0].mean):
            raise StudyFailedError(
                "no contender could be confirmed: with other seeds, every one of them diverged or failed; "
                f"{why_not(self.context.definition.study)}"
            )
        winner = confirmed[0].trial_number if confirmed else self._best_of_search()
        self._tell_infeasible(confirmed)
        if settings.ensemble is Ensemble.TOP_K:
            runs = self._runs_of_best(confirmations, confirmed) or [self._run(winner, None, confirmations)]
        else:
            best = confirmed[0] if confirmed else None
            runs = [self._run(winner, best, confirmations, seed_index=index) for index in range(plan.n_refits)]
        refits = self._refit(runs)
        if refits is None:
            return None
        test = self._test(refits, settings)
        if refits and not look_inside(self.context, refits[0], test, notices=self.notices):
            return None
        is_packaged = package_refits(self.context, refits, settings, notices=self.notices)
        if is_packaged is None:
            return None
        return self._result(winner, confirmations=confirmed, refits=refits, test=test, is_packaged=is_packaged)

    def _best_of_search(self) -> int:
        best = contenders(self.history, self.context, at_most=1)
        if not best:
            raise no_contender(self.history, self.context)
        return best[0]

    def _tell_infeasible(self, confirmed: Sequence[Confirmation]) -> None:
        """Say plainly that nothing keeps all constraints, in the search or over seeds."""
        best = self.history.finished_trial(self._best_of_search()).score
        constraints = ", ".join(each.text for each in self.context.definition.objective.constraints)
        if confirmed and not confirmed[0].violation > 0.0:
            return
        if best is not None and best.violation > 0.0:
            self.notices.append(f"no trial keeps all constraints ({constraints}); the best breaks them least.")
        elif confirmed:
            self.notices.append(
                f"no contender keeps all constraints ({constraints}) in the mean over its seeds; the winner breaks "
                "them least."
            )

    def _runs_of_best(self, confirmations: Confirmations, confirmed: Sequence[Confirmation]) -> list[TrialRecord]:
        """Return a run of each configuration that could be confirmed and breaks constraints no more than the winner."""
        members = [each for each in confirmed if math.isfinite(each.mean) and each.violation <= confirmed[0].violation]
        return [
            self._run(each.trial_number, each, confirmations, seed_index=index, key=f"{REFIT}-{each.trial_number:04d}")
            for index, each in enumerate(members)
        ]

    def _run(
        self,
        trial_number: int,
        confirmed: Confirmation | None,
        confirmations: Confirmations,
        *,
        seed_index: int = 0,
        key: str = "",
    ) -> TrialRecord:
        """Return a refit of a search trial, as long as was best in its confirmations, or in itself without any."""
        trial = self.history.finished_trial(trial_number)
        n_epochs = trial.score.best_epoch if trial.score is not None else 1
        if confirmed is not None:
            n_epochs = self._refit_epochs(confirmations.runs_of(confirmed), confirmed)
        return finish_run(
            self.context,
            key=key or f"{REFIT}-seed{seed_index}",
            stage=REFIT,
            hyperparameters=trial.record.hyperparameters,
            seed_index=seed_index,
            n_epochs=n_epochs,
        )

    def _refit(self, runs: Sequence[TrialRecord]) -> tuple[TrialRecord, ...] | None:
        """Train on train + val."""
        self.context.study.record_refit()
        n_epochs = max(run.n_epochs for run in runs)
        self.context.observer.phase_started(REFIT, n_runs=len(runs), n_epochs=n_epochs)
        source = RunList(self.context, runs)
        if not self.context.pool.run(source):
            return None
        self.records.update(source.records)
        ended = [source.records[run.key] for run in runs]
        fit = tuple(record for record in ended if record.state.is_fully_trained)
        for record in fit:
            self.context.paths.trial(record.key).fetch_weights()
        self.notices.extend(f"{record.key} {record.state}: {record.reason}" for record in ended if record not in fit)
        return fit

    def _refit_epochs(self, confirmed: Sequence[TrialRecord], winner: Confirmation) -> int:
        """Return the epoch at which the confirmations' mean of the monitored metric was best, the latest of equals."""
        objective = self.context.definition.objective
        curves = [run.curve(objective.monitor) for run in confirmed if run.state is TrialState.COMPLETE]
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
        result = self.context.study.test_result()
        if result is None or result.error:  # an earlier version stored errors, too
            result = self._read_test(refits, settings)
        self.notices.extend((*result.notices, *fallen_short(settings, result)))
        return result

    def _read_test(self, refits: Sequence[TrialRecord], settings: FinishSettings) -> TestResult:
        study, observer = self.context.study, self.context.observer
        observer.phase_started("test", n_runs=1, n_epochs=0)
        go_on = f"Go on with: zeroin resume {study.name}"
        result = self.context.pool.ask(
            Request(
                message=self._test_assignment(refits, settings),
                reply=TestResult,
                doing="the test split was read",
                remedy=f"All that was trained is saved. {go_on}",
                notify=observer.notice,
                before_each=study.count_test_reading,
                interruptible=False,
            )
        )
        if result is None:
            raise StudyInterruptedError(f"stopped before the test split was read; everything is saved. {go_on}")
        if result.error:
            raise StudyFailedError(
                f"the test split could not be read: {result.error}\n{users_traceback(result.traceback)}\n"
                f"All that was trained is saved. {go_on}, once that is mended."
            )
        study.record_test_result(result)
        return result

    def _test_assignment(self, refits: Sequence[TrialRecord], settings: FinishSettings) -> TestAssignment:
        definition = self.context.definition
        paths = [self.context.paths.trial(record.key) for record in refits]
        return TestAssignment(
            assembly=assemble(definition, refits[0].hyperparameters),
            trial_keys=tuple(record.key for record in refits),
            directories=tuple(str(each.directory) for each in paths),
            checkpoints=tuple(each.checkpoints for each in paths if each.checkpoints),
            ensemble=settings.averages,
            hang_timeout_seconds=definition.resources.hang_timeout_seconds,
            model_args=model_args_of(definition, refits),
            has_snapshots=settings.keeps_snapshots,
        )

    def _result(
        self,
        winner: int,
        *,
        confirmations: tuple[Confirmation, ...],
        refits: Sequence[TrialRecord],
        test: TestResult | None,
        is_packaged: bool = False,
    ) -> StudyResult:
        ledger = self.context.ledger
        spent = ledger.spent
        searched = {trial.record.key: trial.record for trial in self.history.finished}
        study = self.context.study
        early, settings = study.early_end(), study.definition.finish
        found = contenders(self.history, self.context, at_most=settings.top_k) if settings is not None else ()
        cuts = what_was_cut(
            study.definition,
            searched.values(),
            spent=spent,
            plan=study.finish_plan(),
            n_contenders=len(found),
            early_end=early,
        )
        ended = () if early is None else (f"The search ended early: {early.reason}.",)
        gain, unknown = ({}, ()) if test is None else gains_on_test(test)
        return StudyResult(
            best_trial_number=winner,
            confirmations=confirmations,
            refit_keys=tuple(record.key for record in refits),
            refit_epochs=max((len(record.epochs) for record in refits), default=0),
            test_members=test.members if test else (),
            test_ensemble=test.ensemble if test else {},
            n_test_samples=test.n_samples if test else 0,
            n_test_readings=study.n_test_readings,
            n_epochs=epochs_by_phase({**searched, **self.records}),
            notices=(*ended, *cuts, *self.notices, *unknown),
            seconds=spent.wall_seconds,
            device_seconds=spent.device_seconds,
            device_use=ledger.device_use,
            time_ms=CLOCK.now_ms(),
            is_packaged=is_packaged,
            ensemble_gain=gain,
            crowded_edges=self._crowded_edges(),
        )

    def _crowded_edges(self) -> tuple[CrowdedEdge, ...]:
        return crowded_edges(
            self.history.rewards.observations(),
            self.context.study.openings()[-1].narrowed.space,
            direction=self.context.definition.objective.direction,
        )


def publish_finish(context: StudyContext) -> None:
    """Tell MLflow of the runs of the finish that have ended; a crash may have come before it was told."""
    for record in (*context.logged_runs(CONFIRM), *context.logged_runs(REFIT)):
        CLOCK.witnessed(record.latest_ms)
        if record.state.is_finished:
            context.recorder.publish(record)

"""Train one trial, from its beginning or from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer

from lightning_modules.callbacks.checkpoint_files import CHECKPOINT_NAME, WEIGHTS_NAME, remove_checkpoint
from lightning_modules.callbacks.epoch_checkpoint import (
    CheckpointError,
    EpochCheckpoint,
    load_checkpoint,
    save_weights,
)
from lightning_modules.callbacks.epoch_seeding import EpochSeeding
from lightning_modules.callbacks.generalization_gap import GeneralizationGap
from search.errors import SearchError
from search.messages import Action, EpochReport, TrialAssignment, TrialEnded
from search.worker.assembly import Assembled, assemble, seed_setup
from search.worker.checkpoint_mirror import CheckpointMirror
from search.worker.connection import Coordinator
from search.worker.epoch_metrics import EpochMetricsCollector
from search.worker.final_weights import FinalWeights
from search.worker.process_group import this_group
from search.worker.refit import TrainOnValidationToo
from search.worker.reporting import EpochReporting, reports_in
from search.worker.trainer_settings import check_trainer_args, make_trainer, quiet_libraries
from search.worker.user_error import describe

_SUBSET_SEED = 0
"""Every trial of a study has the same train subset, so that their gaps differ by what was learned only."""


def train(assignment: TrialAssignment, coordinator: Coordinator) -> TrialEnded:
    """Train the trial and say how it ended; never raises."""
    run = _TrialRun(assignment, coordinator)
    error, trace = "", ""
    try:
        with quiet_libraries():
            run.run()
    except BaseException as raised:
        # User code may raise anything; this worker goes on with the next trial.
        error, trace = describe(raised)
    return TrialEnded(
        trial_key=assignment.trial_key,
        n_epochs=run.n_epochs,
        stopped_by_module=not error and run.stopped_by_module,
        error=error,
        traceback=trace,
        notices=tuple(run.notices),
    )


class _TrialRun:
    """One assignment's way through the worker."""

    def __init__(self, assignment: TrialAssignment, coordinator: Coordinator) -> None:
        self.notices: list[str] = []
        self.stopped_by_module = False
        self._assignment = assignment
        self._coordinator = coordinator
        self._path = Path(assignment.directory) / CHECKPOINT_NAME
        self._mirror = CheckpointMirror(assignment.checkpoints)
        self._reports: list[EpochReport] = []

    @property
    def n_epochs(self) -> int:
        """Epochs finished in all."""
        return self._reports[-1].epoch if self._reports else 0

    def run(self) -> None:
        weights = self._restore() if self._assignment.resume else None
        if not self._report_again():
            return
        if self.n_epochs >= self._assignment.n_epochs:
            self._keep_weights(weights)
            return
        del weights
        self._fit()

    def _restore(self) -> dict[str, Any] | None:
        """Read the reports of the checkpoint, if there is one that can be read, and return its weights."""
        self._mirror.fetch(self._path)
        try:
            checkpoint = load_checkpoint(self._path)
            self._reports = reports_in(checkpoint, trial_key=self._assignment.trial_key)
        except FileNotFoundError:
            return None
        except (CheckpointError, KeyError, TypeError) as error:
            remove_checkpoint(self._path)  # which another rank of the group may have done before
            self.notices.append(f"{self._assignment.trial_key} begins anew, its checkpoint is useless: {error}")
            return None
        del self._reports[self._assignment.n_epochs :]
        weights: dict[str, Any] = checkpoint["state_dict"]
        return weights

    def _report_again(self) -> bool:
        """Send the reports that the coordinator has not got; returns whether the trial goes on."""
        for index, report in enumerate(self._reports):
            if report.epoch > self._assignment.n_epochs_reported:
                self._coordinator.send(report)
                action = self._coordinator.wait_for_decision(report.trial_key, report.epoch)
                if action is not Action.CONTINUE:
                    del self._reports[index + 1 :]
                    return False
        return True

    def _fit(self) -> None:
        assignment = self._assignment
        assembled = assemble(assignment.assembly, seed=assignment.seed)
        collector = EpochMetricsCollector()
        merge = TrainOnValidationToo(assembled.loader_owner) if assignment.merge_validation else None
        gap = None if merge is not None else self._make_gap()
        reporting = EpochReporting(
            trial_key=assignment.trial_key,
            n_epochs=assignment.n_epochs,
            coordinator=self._coordinator,
            collector=collector,
            gap=gap,
            reports=self._reports,
        )
        self._reports = reporting.reports
        checkpoint = EpochCheckpoint(
            self._path.parent,
            before_save=reporting.send_report,
            after_save=self._mirror.publishing(self._path, then=reporting.obey),
        )
        watching = [each for each in (merge, gap) if each is not None]
        final = FinalWeights()
        trainer = self._make_trainer(
            [EpochSeeding(assignment.seed), collector, *watching, reporting, checkpoint, final]
        )
        try:
            self._run_trainer(trainer, assembled)
        finally:
            for each in watching:
                self.notices.extend(each.notices)
        if not self._reports:
            raise SearchError("no epoch was trained: the train dataloader is empty.")
        if self.n_epochs < assignment.n_epochs and reporting.last_action in (None, Action.CONTINUE):
            self.stopped_by_module = True
        if reporting.last_action is not Action.PAUSE:
            self._keep_weights(final.weights or assembled.model.state_dict())

    def _make_gap(self) -> GeneralizationGap:
        assembly = self._assignment.assembly
        return GeneralizationGap(monitor=assembly.monitor, maximize=assembly.maximize, seed=_SUBSET_SEED, log=False)

    def _make_trainer(self, callbacks: list[Callback]) -> Trainer:
        trainer_args = dict(self._assignment.assembly.trainer_args)
        check_trainer_args(trainer_args)
        if self._assignment.merge_validation:
            trainer_args["limit_val_batches"] = 0
        return make_trainer(
            trainer_args,
            directory=self._path.parent,
            max_epochs=self._assignment.horizon_epochs,
            callbacks=callbacks,
        )

    def _run_trainer(self, trainer: Trainer, assembled: Assembled) -> None:
        resumes = bool(self._reports)
        seed_setup(self._assignment.assembly)
        trainer.fit(
            assembled.model,
            datamodule=assembled.data,
            ckpt_path=self._path if resumes else None,
            weights_only=True if resumes else None,
        )

    def _keep_weights(self, weights: dict[str, Any] | None) -> None:
        """Write the final weights of a refit, which the test reads."""
        if self._assignment.merge_validation and weights is not None and this_group().rank == 0:
            save_weights(self._path.parent / WEIGHTS_NAME, weights)
            self._mirror.publish(self._path.parent / WEIGHTS_NAME)

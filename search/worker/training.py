"""Train one trial, from its beginning or from its checkpoint."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer

from lightning_modules.callbacks.checkpoint_files import (
    CHECKPOINT_NAME,
    PREVIOUS_CHECKPOINT_NAME,
    SNAPSHOTS_NAME,
    WEIGHTS_NAME,
    remove_checkpoint,
)
from lightning_modules.callbacks.epoch_checkpoint import (
    CheckpointError,
    EpochCheckpoint,
    load_checkpoint,
    save_weights,
)
from lightning_modules.callbacks.epoch_seeding import EpochSeeding
from lightning_modules.callbacks.generalization_gap import GeneralizationGap
from lightning_modules.callbacks.metric_names import N_PARAMETERS
from search.checkpoint_store import CheckpointStore
from search.errors import SearchError, StateError
from search.messages import Action, Cause, EpochReport, Notice, TrialAssignment, TrialEnded
from search.worker.assembly import Assembled, assemble, n_trainable_parameters, seed_setup
from search.worker.checkpoint_mirror import CheckpointMirror
from search.worker.connection import Coordinator
from search.worker.epoch_metrics import EpochMetricsCollector
from search.worker.final_weights import FinalWeights
from search.worker.kept_weights import KeptWeights
from search.worker.memory import is_out_of_memory
from search.worker.preparation import preparing_in_turn
from search.worker.process_group import this_group
from search.worker.refit import TrainOnValidationToo
from search.worker.reporting import EpochReporting, reports_in
from search.worker.trainer_settings import check_trainer_args, make_trainer, quiet_libraries
from search.worker.user_error import describe
from search.worker.watchdog import PatientCoordinator, Watchdog, end_hung_worker

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_PROBE_BYTES = 1 << 16

_SUBSET_SEED = 0
"""Every trial of a study has the same train subset, so that their gaps differ by what was learned only."""


def train(assignment: TrialAssignment, coordinator: Coordinator) -> TrialEnded:
    """Train the trial and say how it ended; never raises."""
    watchdog = Watchdog(
        limit_seconds=assignment.hang_timeout_seconds, on_hang=functools.partial(end_hung_worker, coordinator)
    )
    run = _TrialRun(assignment, PatientCoordinator(coordinator, watchdog), watchdog)
    error, trace, cause = "", "", Cause.USER_CODE
    try:
        with quiet_libraries(), watchdog.watching():
            run.run()
    except BaseException as raised:
        # User code may raise anything; this worker goes on with the next trial.
        error, trace = describe(raised)
        cause = _cause(raised, directory=Path(assignment.directory))
    return TrialEnded(
        trial_key=assignment.trial_key,
        n_epochs=run.n_epochs,
        stopped_by_module=not error and run.stopped_by_module,
        error=error,
        traceback=trace,
        notices=tuple(run.notices),
        cause=cause,
    )


class _TrialRun:
    """One assignment's way through the worker."""

    def __init__(self, assignment: TrialAssignment, coordinator: Coordinator, watchdog: Watchdog) -> None:
        self.notices: list[str] = []
        self.stopped_by_module = False
        self._assignment = assignment
        self._coordinator = coordinator
        self._watchdog = watchdog
        self._path = Path(assignment.directory) / CHECKPOINT_NAME
        self._restored_from = self._path
        self._damaged: list[Path] = []
        self._is_saved = False
        self._has_failed_to_save = False
        self._mirror: CheckpointMirror
        self._reports: list[EpochReport] = []
        self._kept = KeptWeights.of(assignment)

    @property
    def n_epochs(self) -> int:
        """Epochs finished in all."""
        return self._reports[-1].epoch if self._reports else 0

    def run(self) -> None:
        self._mirror = CheckpointMirror(self._assignment.checkpoints)
        weights = self._restore() if self._assignment.resume else None
        if not self._report_again():
            return
        if self.n_epochs >= self._assignment.n_epochs:
            self._keep_weights(weights)
            return
        del weights
        self._fit()

    def _restore(self) -> dict[str, Any] | None:
        """Read the reports of the last checkpoint that can be read, and return its weights; None if there is none.

        Nothing is removed or renamed yet: the other ranks of a group read the same files.
        """
        self._mirror.fetch(self._path)
        damage = ""
        for path in self._checkpoints():
            try:
                checkpoint = load_checkpoint(path)
                self._reports = reports_in(checkpoint, trial_key=self._assignment.trial_key)
                weights: dict[str, Any] = checkpoint["state_dict"]
                if self._kept is not None:
                    self._kept.take_from(checkpoint)
            except FileNotFoundError:
                continue
            except (CheckpointError, KeyError, TypeError) as error:
                damage = damage or str(error)
                if path.parent == self._path.parent:
                    self._damaged.append(path)
                continue
            if damage:
                self._tell_damage(f"goes on after epoch {self.n_epochs}", damage)
            self._restored_from = path
            del self._reports[self._assignment.n_epochs :]
            return weights
        if damage:
            self._tell_damage("begins anew", damage)
        elif self._assignment.inherited_directory:
            key = self._assignment.trial_key
            self.notices.append(f"{key} begins anew, the checkpoint that it was to continue from is gone.")
        return None

    def _checkpoints(self) -> Iterator[Path]:
        """Yield the paths of what it may go on from, best first: its own checkpoints, then that of another trial."""
        previous = self._path.with_name(PREVIOUS_CHECKPOINT_NAME)
        yield self._path
        yield previous
        assignment = self._assignment
        if assignment.inherited_checkpoints:
            # Once there is one of its own, this is the one before.
            CheckpointStore(assignment.inherited_checkpoints).get(CHECKPOINT_NAME, previous)
            self._damaged = [each for each in self._damaged if each != previous]
            yield previous
        elif assignment.inherited_directory:
            yield Path(assignment.inherited_directory) / CHECKPOINT_NAME

    def _tell_damage(self, consequence: str, damage: str) -> None:
        self.notices.append(f"{self._assignment.trial_key} {consequence}, its last checkpoint is useless: {damage}")

    def _remove_damaged(self, trainer: Trainer) -> None:
        """Remove damaged checkpoints, lest one becomes the previous one; by now every rank has read them."""
        if trainer.is_global_zero:
            for path in self._damaged:
                remove_checkpoint(path)
        self._damaged.clear()

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
            also=self._counting(assembled),
            reports=self._reports,
        )
        self._reports = reporting.reports

        def before_save(trainer: Trainer) -> None:
            reporting.send_report(trainer)
            self._remove_damaged(trainer)
            self._is_saved = True

        def after_save(trainer: Trainer) -> None:
            if trainer.is_global_zero and self._is_saved:
                self._mirror.publish(self._path)
            reporting.obey(trainer)

        checkpoint = EpochCheckpoint(
            self._path.parent,
            before_save=before_save,
            after_save=after_save,
            on_failure=self._go_on_without_checkpoint,
        )
        watching = [each for each in (merge, gap) if each is not None]
        final = FinalWeights()
        ours: list[Callback] = [EpochSeeding(assignment.seed), self._watchdog, collector]
        last = [final] if assignment.merge_validation else []  # putting sharded weights together costs time and memory
        kept = [] if self._kept is None else [self._kept]
        trainer = self._make_trainer([*ours, *watching, *kept, reporting, checkpoint, *last])
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
            # Of a group, a strategy may have the ranks put it together once more: rank 0 alone would have them already.
            self._keep_weights(assembled.model.state_dict() if this_group().is_one_process else final.weights)

    def _counting(self, assembled: Assembled) -> Callable[[], dict[str, float]]:
        """Return what counts parameters if the study asks for it: before a strategy shares them out, or once built."""
        if not self._assignment.assembly.counts_parameters:
            return dict
        before = n_trainable_parameters(assembled.model)
        return lambda: {N_PARAMETERS: float(max(before, n_trainable_parameters(assembled.model)))}

    def _make_gap(self) -> GeneralizationGap:
        assembly = self._assignment.assembly
        return GeneralizationGap(
            monitor=assembly.monitor,
            maximize=assembly.maximize,
            further_maximize=assembly.further_maximize,
            seed=_SUBSET_SEED,
            log=False,
            on_batch=self._watchdog.show_life,
        )

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
        with preparing_in_turn(assembled):
            trainer.fit(
                assembled.model,
                datamodule=assembled.data,
                ckpt_path=self._restored_from if resumes else None,
                weights_only=True if resumes else None,
            )

    def _go_on_without_checkpoint(self, error: OSError) -> None:
        """Tell it, once: a checkpoint only saves the work of training again what a lost worker had done."""
        self._is_saved = False
        if not self._has_failed_to_save:
            self._has_failed_to_save = True
            key = self._assignment.trial_key
            text = f"{key} goes on without new checkpoints, they cannot be written: {error.strerror or error}."
            self._coordinator.send(Notice(trial_key=key, text=text))

    def _keep_weights(self, weights: dict[str, Any] | None) -> None:
        """Write the final weights of a refit, and those kept before, which the test reads.

        Raises:
            StateError: If they cannot be written.
        """
        if self._assignment.merge_validation and weights is not None and this_group().rank == 0:
            if self._kept is not None:
                kept, n_epochs = self._kept, self.n_epochs
                self._write(self._path.with_name(SNAPSHOTS_NAME), lambda path: kept.write(path, n_epochs=n_epochs))
            self._write(self._path.with_name(WEIGHTS_NAME), lambda path: save_weights(path, weights))

    def _write(self, path: Path, write: Callable[[Path], None]) -> None:
        try:
            write(path)
        except OSError as error:
            raise StateError(f"the weights {path} cannot be written: {error.strerror or error}.") from error
        self._mirror.publish(path)


def _cause(error: BaseException, *, directory: Path) -> Cause:
    """Tell what is no fault of the user's code: too little memory, or a disk that is full, which others would meet."""
    if isinstance(error, StateError):
        return Cause.STORAGE
    if is_out_of_memory(error):
        return Cause.OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno in _FULL_DISK and not _can_be_written(directory):
        return Cause.STORAGE
    return Cause.USER_CODE


def _can_be_written(directory: Path) -> bool:
    probe = directory / "probe.tmp"
    try:
        probe.write_bytes(bytes(_PROBE_BYTES))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True

"""Find out, before a trial is spent, whether a study's classes, arguments and monitor are right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.utilities.model_helpers import is_overridden

from lightning_modules.arguments import UnfitArgumentError
from lightning_modules.callbacks.generalization_gap import GeneralizationGap
from lightning_modules.callbacks.metric_names import N_PARAMETERS, gap_name
from lightning_modules.ensembles.weight_snapshots import CYCLE_ENDS
from search.errors import StudyDefinitionError, did_you_mean
from search.messages import Inspect, InspectionResult, ModelAssembly
from search.usable_cores import usable_cores
from search.worker.assembly import (
    Assembled,
    check_arguments,
    import_class,
    make_data,
    make_model,
    n_trainable_parameters,
    seed_setup,
)
from search.worker.epoch_metrics import EpochMetrics, EpochMetricsCollector
from search.worker.first_batch import FirstBatch
from search.worker.memory import MemoryMeter, is_out_of_memory
from search.worker.scratch_directory import scratch_directory
from search.worker.thorough_checks import ThoroughChecks
from search.worker.trainer_settings import check_trainer_args, make_trainer, one_batch_args, quiet_libraries
from search.worker.trainer_values import check_fractions, trainer_as_given
from search.worker.user_error import describe

_SEED = 0

_HORIZON_EPOCHS = 100
"""Long enough that no schedule divides by zero; one epoch of one batch is run."""


class _UserCodeError(Exception):
    """Something of the user's raised; `key` says which entry of the study file is to blame."""

    def __init__(self, key: str, doing: str) -> None:
        super().__init__(doing)
        self.key = key


def inspect_assembly(order: Inspect, *, show_life: Callable[[], None] = lambda: None) -> InspectionResult:
    """Check everything that can be checked with one batch, and what else is asked for; never raises.

    Args:
        order: What is built, and what is checked of it.
        show_life: Called after each thorough check.
    """
    error, key, trace, out_of_memory = "", "", "", False
    checks = _checks(order, show_life)
    dry_run = _DryRun(order, checks)
    try:
        with quiet_libraries():
            dry_run.run()
    except StudyDefinitionError as raised:
        error, key = str(raised).removeprefix(f"{raised.key}: "), raised.key
    except _UserCodeError as raised:
        assert raised.__cause__ is not None
        what, trace = describe(raised.__cause__)
        error, key = f"{raised}: {what}", raised.key
        out_of_memory = is_out_of_memory(raised)
    except BaseException as raised:
        what, trace = describe(raised)
        error, key = f"the dry run failed: {what}", "model.class_path"
        out_of_memory = is_out_of_memory(raised)
    return InspectionResult(
        error=error,
        error_key=key,
        metrics=dry_run.metrics,
        notices=dry_run.notices,
        n_parameters=dry_run.n_parameters,
        measures_gap=dry_run.measures_gap,
        has_test_data=dry_run.has_test_data,
        traceback=trace,
        free_bytes=dry_run.memory.free_bytes,
        trial_bytes=dry_run.memory.trial_bytes,
        worker_bytes=dry_run.memory.worker_bytes,
        n_cores=usable_cores(),
        out_of_memory=out_of_memory,
        measured=dry_run.measured,
        findings=() if checks is None else tuple(checks.findings),
        n_lr_cycles=dry_run.n_lr_cycles,
    )


def _checks(order: Inspect, show_life: Callable[[], None]) -> ThoroughChecks | FirstBatch | None:
    if order.checks is None:
        return None
    if order.checks.thorough:
        return ThoroughChecks(order.checks, order.assembly, seed=_SEED, show_life=show_life)
    return FirstBatch()


class _DryRun:
    def __init__(self, order: Inspect, checks: Callback | None) -> None:
        self.metrics: tuple[str, ...] = ()
        self.measured: tuple[str, ...] = ()
        self.notices: tuple[str, ...] = ()
        self.n_parameters = 0
        self.measures_gap = False
        self.has_test_data = False
        self.memory = MemoryMeter()
        self.n_lr_cycles: int | None = None
        self._gap_names: tuple[str, ...] = ()
        self._assembly = order.assembly
        self._searched = order.searched
        self._checks = [] if checks is None else [checks]

    def run(self) -> None:
        """Raises `StudyDefinitionError` or `_UserCodeError` for the first thing that is wrong."""
        assembly = self._assembly
        self._check_class(assembly.model_class, LightningModule, assembly.model_args, prefix="model")
        if assembly.data_class is not None:
            self._check_class(assembly.data_class, LightningDataModule, assembly.data_args, prefix="data")
        check_trainer_args(assembly.trainer_args)
        with scratch_directory() as directory:
            given = trainer_as_given(assembly.trainer_args, directory=directory)
            self.memory.begin()
            assembled = self._assemble()
            self.n_parameters = n_trainable_parameters(assembled.model)
            self.has_test_data = assembled.defines("test_dataloader")
            _check_hooks(assembly, assembled)
            found = self._train_one_batch(assembled, directory, given=given)
            self.memory.end()
        self.metrics = found.validation_names
        counted = (N_PARAMETERS,) if assembly.counts_parameters else ()
        self.measured = tuple(dict.fromkeys((*found.values, *self._gap_names, *counted)))
        self._check_monitor(found)

    def _check_class(self, path: str, base: type, arguments: Mapping[str, Any], *, prefix: str) -> None:
        try:
            cls = import_class(path, base=base, key=f"{prefix}.class_path")
        except StudyDefinitionError:
            raise
        except BaseException as error:
            raise _UserCodeError(f"{prefix}.class_path", f"importing {path} raised") from error
        check_arguments(cls, arguments, prefix=prefix, searched=self._searched)

    def _assemble(self) -> Assembled:
        try:
            data = make_data(self._assembly)
        except BaseException as error:
            raise _UserCodeError("data.init_args", f"making {self._assembly.data_class} raised") from error
        try:
            return Assembled(model=make_model(self._assembly, seed=_SEED), data=data)
        except BaseException as error:
            raise _UserCodeError("model.init_args", f"making {self._assembly.model_class} raised") from error

    def _train_one_batch(self, assembled: Assembled, directory: Path, *, given: Trainer) -> EpochMetrics:
        collector = EpochMetricsCollector()
        gap = GeneralizationGap(
            monitor=self._assembly.monitor,
            maximize=self._assembly.maximize,
            further_maximize=self._assembly.further_maximize,
            seed=_SEED,
            n_samples=1,
            log=False,
        )
        stop = _StopAfterOneEpoch(collector, given=given)
        trainer = self._make_trainer(directory, [*self._checks, collector, gap, stop])
        seed_setup(self._assembly)
        try:
            trainer.fit(assembled.model, datamodule=assembled.data)
        except StudyDefinitionError:
            raise
        except UnfitArgumentError as error:
            raise StudyDefinitionError(str(error), key=f"{error.owner}.init_args.{error.argument}") from error
        except BaseException as error:
            in_data = _is_in(error.__traceback__, assembled)
            key = "data.class_path" if in_data else "model.class_path"
            culprit = self._assembly.data_class if in_data else self._assembly.model_class
            raise _UserCodeError(key, f"one batch of training and validation with {culprit} raised") from error
        ends = getattr(assembled.model, CYCLE_ENDS, None)
        self.n_lr_cycles = len(ends()) if callable(ends) else None
        self.notices = gap.notices
        self._gap_names = tuple(gap.metrics)
        self.measures_gap = gap_name(self._assembly.monitor) in gap.metrics
        if stop.found is None:
            key = "data.class_path" if assembled.data is not None else "model.class_path"
            raise StudyDefinitionError("the train dataloader yields no batch.", key=key)
        return stop.found

    def _make_trainer(self, directory: Path, callbacks: list[Callback]) -> Trainer:
        return make_trainer(
            {**one_batch_args(self._assembly.trainer_args), "limit_train_batches": 1, "limit_val_batches": 1},
            directory=directory,
            max_epochs=_HORIZON_EPOCHS,
            callbacks=callbacks,
        )

    def _check_monitor(self, found: EpochMetrics) -> None:
        monitor = self._assembly.monitor
        if monitor in found.validation_names:
            return
        known = ", ".join(found.validation_names) or "nothing"
        elsewhere = " It is logged in training only." if monitor in found.values else ""
        raise StudyDefinitionError(
            f"{self._assembly.model_class} must log {monitor!r} in validation, but it logs {known} there.{elsewhere}"
            f"{did_you_mean(monitor, found.validation_names)}",
            key="objective.monitor",
        )


class _StopAfterOneEpoch(Callback):
    def __init__(self, collector: EpochMetricsCollector, *, given: Trainer) -> None:
        self.found: EpochMetrics | None = None
        self._collector = collector
        self._given = given

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.found = self._collector.collect(trainer)
        check_fractions(self._given, trainer)
        trainer.should_stop = True


def _check_hooks(assembly: ModelAssembly, assembled: Assembled) -> None:
    """Check that what Lightning calls in a fit with validation is there; it would skip validation without a word."""
    for step in ("training_step", "validation_step", "configure_optimizers"):
        if not is_overridden(step, assembled.model):
            raise StudyDefinitionError(f"{assembly.model_class} must define `{step}`.", key="model.class_path")
    for loader in ("train_dataloader", "val_dataloader"):
        if not assembled.defines(loader):
            if assembly.data_class is None:
                text, key = f"there is no data module, and {assembly.model_class} defines no `{loader}`.", "data"
            else:
                text, key = f"{assembly.data_class} must define `{loader}`.", "data.class_path"
            raise StudyDefinitionError(text, key=key)


def _is_in(traceback: TracebackType | None, assembled: Assembled) -> bool:
    """Whether the data module's code was running: the first of the two objects that the traceback meets."""
    while traceback is not None:
        receiver = traceback.tb_frame.f_locals.get("self")
        if receiver is assembled.model:
            return False
        if receiver is not None and receiver is assembled.data:
            return True
        traceback = traceback.tb_next
    return False

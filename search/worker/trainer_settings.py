"""The Trainer of a worker: the user's arguments, and those that are not the user's to choose."""

from __future__ import annotations

import inspect
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers.logger import DummyLogger

from lightning_modules.callbacks.epoch_checkpoint import DirectCheckpointIO
from search.errors import StudyDefinitionError, did_you_mean
from search.messages import MPS_VARIABLE
from search.worker.process_group import ProcessGroup, host_group_of_one, own_gpu, this_group

OWNED: Mapping[str, str] = {
    **dict.fromkeys(("max_epochs", "min_epochs"), "a trial's epochs are its stage's"),
    **dict.fromkeys(("max_steps", "min_steps", "max_time"), "a trial's length is counted in epochs"),
    **dict.fromkeys(("accelerator", "devices", "num_nodes"), "a trial's devices are those of its worker"),
    **dict.fromkeys(("logger", "enable_autolog_hparams"), "metrics go to MLflow"),
    **dict.fromkeys(("enable_checkpointing", "default_root_dir"), "checkpoints go to the state directory"),
    **dict.fromkeys(("enable_progress_bar", "enable_model_summary"), "progress is shown by zeroin"),
    **dict.fromkeys(("num_sanity_val_steps", "fast_dev_run"), "a study begins with a dry run of its own"),
    **dict.fromkeys(("callbacks", "plugins"), "they are objects; return callbacks from `configure_callbacks`"),
    "barebones": "it forbids logging",
}
"""Arguments that zeroin sets itself, and why."""


_LENGTH_ARGS = (
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches"),
    *("overfit_batches", "val_check_interval", "check_val_every_n_epoch"),
)

_OUR_WARNINGS = (
    ".*does not have many workers.*",  # one core per worker is what there is
    ".*is smaller than the logging interval.*",  # there is no logger to speak of
    ".*ReduceLROnPlateau conditioned on metric.*which is not available but strict.*",  # a refit has no validation
    ".*Early stopping conditioned on metric.*which is not available.*",
    ".*isinstance.treespec, LeafSpec.*",  # Lightning's own use of torch
    ".*It is recommended to use `self.log.*sync_dist=True.*",  # what is reported is reduced over the ranks by us
)

_HALF_PRECISION = ("16-mixed", "16")

DEFAULT_STRATEGY = "ddp"
"""How a trial trains on several devices, unless the study says otherwise."""


def check_trainer_args(trainer_args: Mapping[str, Any]) -> None:
    """Check the names of the user's arguments, and that this worker's device has the precision.

    Raises:
        StudyDefinitionError: For one that `Trainer` does not take or that zeroin sets itself, and for a precision that
            Lightning would replace by another one.
    """
    known = [name for name in inspect.signature(Trainer.__init__).parameters if name != "self" and name not in OWNED]
    for name in trainer_args:
        if name in OWNED:
            raise StudyDefinitionError(f"zeroin sets this argument itself ({OWNED[name]}).", key=f"trainer.{name}")
        if name not in known:
            raise StudyDefinitionError(
                f"`pytorch_lightning.Trainer` takes no argument {name!r}.{did_you_mean(name, known)}",
                key=f"trainer.{name}",
            )
    precision = trainer_args.get("precision")
    if str(precision) in _HALF_PRECISION and _accelerator() == "cpu":
        raise StudyDefinitionError(
            f"{precision!r} must have a GPU, but trials train on {device_in_words()}, where Lightning would take"
            " 'bf16-mixed' instead; say 'bf16-mixed' or '32-true'.",
            key="trainer.precision",
        )


def one_batch_args(trainer_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user's arguments without those that say how much data there is, and how often it is validated on."""
    return {name: value for name, value in trainer_args.items() if name not in _LENGTH_ARGS}


def make_trainer(
    trainer_args: Mapping[str, Any],
    *,
    directory: Path,
    max_epochs: int,
    callbacks: Sequence[Callback],
    alone: bool = False,
) -> Trainer:
    """Make the Trainer of one run on this worker's devices.

    Args:
        trainer_args: The user's, checked by `check_trainer_args`.
        directory: Where a user's own callbacks may write.
        max_epochs: What learning-rate schedules see as the end of training, >= 1.
        callbacks: Ours; the user's come from ``configure_callbacks``.
        alone: Whether this process runs without the others of its group, which it must have left.
    """
    group = ProcessGroup(rank=0, n_ranks=1) if alone else this_group()
    given = dict(trainer_args)
    if alone:
        given.pop("strategy", None)
    accelerator = _accelerator()
    devices: list[int] | int = [0] if accelerator == "gpu" else 1
    environment: ClusterEnvironment = _OneProcess()
    if not group.is_one_process:
        given.setdefault("strategy", DEFAULT_STRATEGY)
        devices = list(range(group.n_ranks)) if accelerator == "gpu" else group.n_ranks
        environment = TorchElasticEnvironment()
    elif "strategy" in given:
        host_group_of_one()
    return Trainer(
        **given,
        accelerator=accelerator,
        devices=devices,
        max_epochs=max_epochs,
        default_root_dir=directory,
        callbacks=list(callbacks),
        # Swallows whatever modules send to `self.logger.experiment`.
        logger=DummyLogger(),
        # Else the variables of a cluster's scheduler are taken for orders.
        plugins=[environment, DirectCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_autolog_hparams=False,
        num_sanity_val_steps=0,
    )


class _OneProcess(LightningEnvironment):
    """One process, which no strategy may start again for each of its ranks."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return 0


def _accelerator() -> str:
    if torch.cuda.is_available():
        return "gpu"
    return "mps" if os.environ.get(MPS_VARIABLE) == "1" and torch.backends.mps.is_available() else "cpu"


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence what libraries say about arguments that we chose, not the user."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)  # no "GPU available", no tips
        with warnings.catch_warnings():
            for message in _OUR_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def device_in_words() -> str:
    """Describe the device that trials run on."""
    accelerator = _accelerator()
    if accelerator == "gpu":
        return torch.cuda.get_device_name(own_gpu())
    if accelerator == "mps":
        return "Apple GPU"
    return f"CPU, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"

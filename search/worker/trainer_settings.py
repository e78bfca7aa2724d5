"""The Trainer of a worker: the user's arguments, and those that are not the user's to choose."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers.logger import DummyLogger

from lightning_modules.callbacks.epoch_checkpoint import DirectCheckpointIO
from search.errors import StudyDefinitionError, did_you_mean

OWNED: Mapping[str, str] = {
    **dict.fromkeys(("max_epochs", "min_epochs"), "a trial's epochs are its stage's"),
    **dict.fromkeys(("max_steps", "min_steps", "max_time"), "a trial's length is counted in epochs"),
    **dict.fromkeys(("accelerator", "devices", "num_nodes", "strategy"), "each trial has one device of its own"),
    **dict.fromkeys(("logger", "enable_autolog_hparams"), "metrics go to MLflow"),
    **dict.fromkeys(("enable_checkpointing", "default_root_dir"), "checkpoints go to the state directory"),
    **dict.fromkeys(("enable_progress_bar", "enable_model_summary"), "progress is shown by zeroin"),
    **dict.fromkeys(("num_sanity_val_steps", "fast_dev_run"), "a study begins with a dry run of its own"),
    **dict.fromkeys(("callbacks", "plugins"), "they are objects; return callbacks from `configure_callbacks`"),
    "barebones": "it forbids logging",
}
"""Arguments that zeroin sets itself, and why."""


_OUR_WARNINGS = (
    ".*does not have many workers.*",  # one core per worker is what there is
    ".*is smaller than the logging interval.*",  # there is no logger to speak of
    ".*ReduceLROnPlateau conditioned on metric.*which is not available but strict.*",  # a refit has no validation
    ".*Early stopping conditioned on metric.*which is not available.*",
    ".*isinstance.treespec, LeafSpec.*",  # Lightning's own use of torch
)


def check_trainer_args(trainer_args: Mapping[str, Any]) -> None:
    """Check the names of the user's arguments.

    Raises:
        StudyDefinitionError: For one that `Trainer` does not take or that zeroin sets itself.
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


def make_trainer(
    trainer_args: Mapping[str, Any],
    *,
    directory: Path,
    max_epochs: int,
    callbacks: Sequence[Callback],
) -> Trainer:
    """Make the Trainer of one run on the first visible device.

    Args:
        trainer_args: The user's, checked by `check_trainer_args`.
        directory: Where a user's own callbacks may write.
        max_epochs: What learning-rate schedules see as the end of training, >= 1.
        callbacks: Ours; the user's come from ``configure_callbacks``.
    """
    has_gpu = torch.cuda.is_available()
    return Trainer(
        **trainer_args,
        accelerator="gpu" if has_gpu else "cpu",
        devices=[0] if has_gpu else 1,
        max_epochs=max_epochs,
        default_root_dir=directory,
        callbacks=list(callbacks),
        # Swallows whatever modules send to `self.logger.experiment`.
        logger=DummyLogger(),
        # Else the variables of a cluster's scheduler are taken for orders.
        plugins=[LightningEnvironment(), DirectCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_autolog_hparams=False,
        num_sanity_val_steps=0,
    )


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
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"CPU, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"

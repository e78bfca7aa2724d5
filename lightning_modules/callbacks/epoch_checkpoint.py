"""One rolling checkpoint, written after every epoch, from which a fit goes on exactly as if it had never stopped."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_modules.callbacks.checkpoint_files import (
    CHECKPOINT_NAME,
    PREVIOUS_CHECKPOINT_NAME,
    remove_checkpoint,
)
from lightning_modules.callbacks.rank_reduction import gathered

_SYNC_SECONDS = 1.0
"""A sync makes every other write on the disk wait, which an epoch of a tenth of a second must not do each time."""

_METRIC_STATES_KEY = "metric_states"
_OTHER_RANKS_KEY = "metric_states_of_other_ranks"
_HYPERPARAMETERS_KEYS = (
    "hparams_name",
    "hparams_type",
    "hyper_parameters",
    "datamodule_hparams_name",
    "datamodule_hparams_type",
    "datamodule_hyper_parameters",
)


class DirectCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint where it is to be; for ``Trainer(plugins=…)``.

    Lightning's own way leads over a temporary file elsewhere, which stays there when the disk is full. What cannot be
    written raises afterwards, in `raise_failure`: `Trainer.save_checkpoint` has all processes of a distributed training
    meet when it is done, and one that raises would not come.
    """

    def __init__(self) -> None:
        self._failure: OSError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write it, or keep why that failed."""
        self._failure = None
        try:
            _save(checkpoint, Path(path))
        except OSError as error:
            self._failure = error

    def raise_failure(self) -> None:
        """Raise why the last checkpoint could not be written.

        Raises:
            OSError: If it could not.
        """
        if self._failure is not None:
            raise self._failure


class CheckpointError(Exception):
    """A checkpoint that cannot be read, or written by all processes together."""


class EpochCheckpoint(Callback):
    """Write ``last.ckpt`` when an epoch is over, atomically, without hyperparameters, loadable with ``weights_only``.

    Lightning's own hooks come too early or too late for an exact checkpoint: at ``on_train_epoch_end``
    ReduceLROnPlateau has not stepped yet and logged torchmetrics are not reset; at the next ``on_train_epoch_start``
    a new epoch counts as begun. So the checkpoint is written between the two, when the fit loop's ``on_advance_end``
    returns. States of metrics that are not empty then are saved too.

    Whenever the process is killed, the file is there whole. It is forced to the disk at most once a second, for the
    first time a second after this object was made; a power cut may leave one that was not forced yet damaged or empty,
    for which `load_checkpoint` raises `CheckpointError`. The one before is kept as ``previous.ckpt``, by a second name
    for the same file, so that no byte is copied.

    Under a distributed strategy every process takes part, and one file is written, by rank 0 or by the strategy itself.

    Continue with ``Trainer.fit(…, ckpt_path=directory / "last.ckpt", weights_only=True)``.

    Args:
        directory: Where the checkpoint goes; exists.
        before_save: Called with the trainer when an epoch is over, before the checkpoint is written.
        after_save: Called with the trainer afterwards; may set ``trainer.should_stop``.
        on_failure: Told when the checkpoint cannot be written, because the disk is full, say; training goes on, and the
            checkpoints that are there stay. Without it the error is raised.
    """

    def __init__(
        self,
        directory: Path,
        *,
        before_save: Callable[[Trainer], None] | None = None,
        after_save: Callable[[Trainer], None] | None = None,
        on_failure: Callable[[OSError], None] | None = None,
    ) -> None:
        self._path = directory / CHECKPOINT_NAME
        self._previous = directory / PREVIOUS_CHECKPOINT_NAME
        self._before_save = before_save
        self._after_save = after_save
        self._on_failure = on_failure
        self._is_saving = False
        self._synced_at = time.monotonic()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loop = trainer.fit_loop
        finish_epoch = loop.on_advance_end

        def on_advance_end() -> None:
            finish_epoch()
            self._epoch_is_over(trainer)

        loop.on_advance_end = on_advance_end  # type: ignore[method-assign]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        vars(trainer.fit_loop).pop("on_advance_end", None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_fit_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._is_saving:
            for key in _HYPERPARAMETERS_KEYS:
                checkpoint.pop(key, None)
            states = _metric_states(pl_module)
            if trainer.world_size > 1:
                states = apply_to_collection(states, Tensor, Tensor.cpu)
            by_rank = gathered(trainer, states)
            checkpoint[_METRIC_STATES_KEY] = by_rank[0]
            if len(by_rank) > 1:
                checkpoint[_OTHER_RANKS_KEY] = by_rank[1:]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        by_rank = [checkpoint.get(_METRIC_STATES_KEY, {}), *checkpoint.get(_OTHER_RANKS_KEY, ())]
        if trainer.global_rank < len(by_rank):
            _load_metric_states(pl_module, by_rank[trainer.global_rank])

    def _epoch_is_over(self, trainer: Trainer) -> None:
        if self._before_save is not None:
            self._before_save(trainer)
        self._is_saving = True
        try:
            self._save(trainer)
        except OSError as error:
            if self._on_failure is None:
                raise
            self._on_failure(error)
        finally:
            self._is_saving = False
        if self._after_save is not None:
            self._after_save(trainer)

    def _save(self, trainer: Trainer) -> None:
        now = time.monotonic()
        sync = now - self._synced_at >= _SYNC_SECONDS
        temporary = _temporary_path(self._path)
        try:
            _write_checkpoint(trainer, temporary)  # all processes take part and leave together
            if trainer.is_global_zero:
                if sync:
                    _sync(temporary)
                _give_second_name(self._path, self._previous)
                _put_in_place(temporary, self._path)
        except OSError:
            if trainer.is_global_zero:
                remove_checkpoint(temporary)
            raise
        if sync:
            self._synced_at = now


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU without running any code from it.

    Raises:
        CheckpointError: If the file is damaged, or holds objects other than tensors and plain data.
        FileNotFoundError: If there is none.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        # A damaged file can raise anything: EOFError, RuntimeError, UnpicklingError, KeyError, OSError.
        raise CheckpointError(
            f"{path} cannot be read: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        ) from error
    return checkpoint


def save_weights(path: Path, weights: dict[str, Any]) -> None:
    """Write a state dict atomically, and force it to the disk.

    Raises:
        OSError: If it cannot be written.
    """
    write_atomically(path, lambda temporary: _save(weights, temporary))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` write a temporary file, then put it in the place of `path`: it is there whole or not at all.

    Args:
        path: The file; its directory exists.
        write: Gets the temporary file's path. What it wrote is forced to the disk.

    Raises:
        OSError: If it cannot be written; no part of it is left behind then.
    """
    temporary = _temporary_path(path)
    try:
        write(temporary)
        _sync(temporary)
        _put_in_place(temporary, path)
    except OSError:
        remove_checkpoint(temporary)
        raise


def _temporary_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")


def _put_in_place(temporary: Path, path: Path) -> None:
    """Put a file that is written whole, or the directory that a strategy made of it, in the place of another."""
    if path.is_dir() or temporary.is_dir():
        remove_checkpoint(path)  # no system can put a directory in the place of another at once
    # The directory is not synchronized: a power cut may bring back the file before this one, whole as well.
    temporary.replace(path)


def _write_checkpoint(trainer: Trainer, path: Path) -> None:
    try:
        trainer.save_checkpoint(path, weights_only=False)
    except OSError as error:
        if trainer.world_size == 1:
            raise
        # A strategy that writes by itself: the other processes wait for this one, which cannot just go on.
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}") from error
    writer = trainer.strategy.checkpoint_io
    if isinstance(writer, DirectCheckpointIO):
        writer.raise_failure()


def _save(content: dict[str, Any], path: Path) -> None:
    # Written in memory first: what torch raises when a file cannot be written does not say why.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getbuffer())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give_second_name(path: Path, name: Path) -> None:
    """Make `name` refer to the file at `path`, if there is one, so that it outlives its replacement.

    Otherwise what has the name already is all that there is, and keeps it.
    """
    if not path.exists():
        return
    remove_checkpoint(name)
    try:
        os.link(path, name)
    except OSError:  # a directory, or a file system without hard links; for a moment there is nothing at `path`
        path.replace(name)


def _metrics(module: nn.Module) -> dict[str, Metric]:
    return {name: each for name, each in module.named_modules() if isinstance(each, Metric)}


def _metric_states(module: nn.Module) -> dict[str, dict[str, Any]]:
    """Plain attributes (states, counts, caches) of every metric that holds data, by the metric's name."""
    return {
        name: {key: _detached(value) for key, value in vars(metric).items() if _is_plain(value)}
        for name, metric in _metrics(module).items()
        if metric.update_called
    }


def _load_metric_states(module: nn.Module, states: dict[str, dict[str, Any]]) -> None:
    metrics = _metrics(module)
    for name in states.keys() & metrics.keys():
        vars(metrics[name]).update(states[name])


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(_is_plain(each) for each in value)
    return value is None or isinstance(value, bool | int | float | str | Tensor)


def _detached(value: Any) -> Any:
    return apply_to_collection(value, Tensor, Tensor.detach)

"""Where a backbone's weights come from: a file of this machine, the package itself, or torchvision."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_modules.arguments import ArgumentError
from lightning_modules.callbacks.checkpoint_files import CHECKPOINT_NAME, WEIGHTS_NAME
from lightning_modules.callbacks.epoch_checkpoint import CheckpointError, load_checkpoint
from lightning_modules.pretrained import shipped_weights

_STATE_KEYS = ("state_dict", "model_state_dict", "model")
"""Under which of its keys a checkpoint has the weights: Lightning's, the PyTorch tutorials', torchvision's."""


def read_weights(weights: str, *, class_path: str) -> dict[str, Tensor]:
    """Read a ``state_dict``; no code from the file is ever run.

    Args:
        weights: Name of weights that come with this package; for a network of torchvision, a name of its weights
            (``IMAGENET1K_V1``, downloaded once); else the path of a file: a checkpoint of zeroin or Lightning, or a
            ``state_dict``; or of the directory of a zeroin trial.
        class_path: Of the network that they are for.

    Raises:
        ValueError: If there is nothing of that name, it cannot be read, or it holds no weights.
    """
    shipped = shipped_weights()
    if not isinstance(weights, str) or not weights:
        raise ArgumentError(f"`weights` must be a file's path or a name, but got {weights!r}.")
    if weights in shipped:
        return _read_file(shipped[weights])
    offered = _torchvision_weights_of(class_path)
    if weights in offered:
        return _downloaded(weights, offered[weights])
    path = Path(weights).expanduser()
    if path.is_dir():
        path = path / (WEIGHTS_NAME if (path / WEIGHTS_NAME).exists() else CHECKPOINT_NAME)
    if not path.is_file():
        known = [*shipped, *offered]
        raise ArgumentError(
            f"`weights` must be an existing file or one of {known!r}, but got {weights!r}: "
            f"there is no file {path.absolute()}."
        )
    return _read_file(path)


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = load_checkpoint(path)
    except CheckpointError as error:
        raise ArgumentError(
            f"`weights`: {error}. A file must hold tensors and plain data only, and is read with weights_only=True: "
            "save the state_dict alone, `torch.save(model.state_dict(), path)`."
        ) from error
    state = content if isinstance(content, Mapping) else {}
    state = next((state[key] for key in _STATE_KEYS if isinstance(state.get(key), Mapping)), state)
    tensors = {str(name): tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise ArgumentError(f"`weights` must hold a state_dict, names with tensors, but {path} has none.")
    return tensors


def _torchvision_weights_of(class_path: str) -> Mapping[str, Any]:
    """Return what torchvision offers for a network of its own, by name; nothing for others."""
    if not class_path.startswith("torchvision."):
        return {}
    models = importlib.import_module("torchvision.models")
    try:
        offered: Mapping[str, Any] = models.get_model_weights(class_path.rpartition(".")[2]).__members__
    except ValueError:
        return {}  # a class, not one of the functions that make a known network
    return offered


def _downloaded(name: str, chosen: Any) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = chosen.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except OSError as error:  # URLError is one
        cached = Path(torch.hub.get_dir()) / "checkpoints" / chosen.url.rpartition("/")[2]
        raise ArgumentError(
            f"`weights` {name!r} cannot be downloaded from {chosen.url}: {getattr(error, 'reason', error)}. "
            f"Put the file at {cached}, or give its path as `weights`."
        ) from error
    return state

"""Measure anew what batch normalization knows of its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.arguments import ArgumentError
from lightning_modules.module_modes import modes_restored

BATCH_NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Layers that measure the batch in train mode."""

_TOO_FEW_VALUES = "Expected more than 1 value per channel when training"
"""How torch's error begins."""


@contextmanager
def naming_batch_size(images: Tensor) -> Iterator[None]:
    """Say what to change where batch normalization cannot train on `images` ``(N, …)``, since N is 1.

    Raises:
        ValueError: Instead of torch's, which names no argument; others are left alone.
    """
    try:
        yield
    except ValueError as error:
        if len(images) > 1 or not str(error).startswith(_TOO_FEW_VALUES):
            raise
        raise ArgumentError(
            "`batch_size` must leave no training batch of a single image where batch normalization sees maps of one "
            f"pixel ({error}). Data modules of lightning_modules leave a last one out; give a DataLoader of your own"
            " `drop_last=True`, or take another normalization (`norm`)."
        ) from error


def normalizing_layers(module: nn.Module) -> list[Any]:
    """Return the batch normalizations that keep statistics and are in train mode: frozen ones keep what they have."""
    layers = [each for each in module.modules() if isinstance(each, BATCH_NORMALIZATIONS)]
    return [each for each in layers if each.training and each.track_running_stats]


@torch.no_grad()
def measure_batch_norm(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the statistics of the batch normalizations by those of `batches`, for the weights that there are.

    `torch.optim.swa_utils.update_bn` does so with dropout on and thaws frozen layers; here everything else is in eval
    mode, so that no random number is drawn and the statistics are those of evaluation. All modes are restored.

    Args:
        module: In train mode; without batch normalization in train mode nothing happens.
        batches: Images ``(N, C, H, W)`` on the module's device. Every batch counts alike, whatever its size.

    Source:
        Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization" (arXiv 1803.05407),
        section 3.2, "Batch normalization".
    """
    layers = normalizing_layers(module)
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    with modes_restored(module):
        module.eval()
        try:
            for layer in layers:
                layer.train()
                layer.reset_running_stats()
                layer.momentum = None  # a plain mean over the batches
            for images in batches:
                module(images)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
